"""The reading thread: posts states as messages; a newer one replaces an older one that is still queued."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from textual.message import Message

from peftbench.tui.source import StateSource
from peftbench.tui.state import DashboardState, StateRequest

EVERY_S = 0.22
CLOCK_EVERY_S = 1.0


class StateReady(Message):
    """A new snapshot."""

    bubble = False

    def __init__(self, snapshot: DashboardState) -> None:
        super().__init__()
        self.snapshot = snapshot

    def can_replace(self, message: Message) -> bool:
        """Replace any older snapshot in the message queue."""
        return isinstance(message, StateReady)


def worth_showing(before: DashboardState, now: DashboardState) -> bool:
    """Return whether a snapshot differs in more than its time, or `CLOCK_EVERY_S` has passed."""
    return now.now_s - before.now_s >= CLOCK_EVERY_S or replace(now, now_s=before.now_s) != before


class PollFailed(Message):
    """The reading thread failed with an unexpected error (a bug)."""

    bubble = False

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class Poller:
    """Polls a source 4 to 5 times a second, and immediately when the request changes.

    Args:
        source: factory of the source; called and used only in the feed's thread.
        post: receives the messages; must be thread-safe.
        every_s: polling interval in seconds.
    """

    def __init__(
        self, source: Callable[[], StateSource], post: Callable[[Message], object], every_s: float = EVERY_S
    ) -> None:
        self._source, self._post, self._every_s = source, post, every_s
        self._wanted = StateRequest()
        self._wake, self._done = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def want(self, wanted: StateRequest) -> None:
        """Set what is read, and read it immediately if it has changed."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._wake.set()

    def look_now(self) -> None:
        """Poll immediately, after an action."""
        self._wake.set()

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._done = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        try:
            source = self._source()
            try:
                posted: DashboardState | None = None
                while not self._done:
                    self._wake.clear()
                    snapshot = source.look(self._wanted)
                    if posted is None or worth_showing(posted, snapshot):
                        posted = snapshot
                        self._post(StateReady(snapshot))
                    self._wake.wait(self._every_s)
            finally:
                source.close()
        except Exception as error:
            self._post(PollFailed(error))
