"""The one thread that reads: snapshots as messages, of which a newer one replaces an older that waits still."""

from __future__ import annotations

import threading
from collections.abc import Callable

from textual.message import Message

from peftbench.tui.snapshot import Snapshot, Wanted
from peftbench.tui.source import Source

EVERY_S = 0.22


class Looked(Message):
    """A new snapshot."""

    bubble = False

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.snapshot = snapshot

    def can_replace(self, message: Message) -> bool:
        """Only the newest counts."""
        return isinstance(message, Looked)


class FeedFailed(Message):
    """The reading thread met what it cannot tell a user about: a defect."""

    bubble = False

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class Feed:
    """Looks at a source 4 to 5 times a second, and at once where somebody wants something else.

    Args:
        source: made in the thread, which is the only one that uses it.
        post: takes the messages; safe to call from another thread.
        every_s: seconds from a look to the next.
    """

    def __init__(
        self, source: Callable[[], Source], post: Callable[[Message], object], every_s: float = EVERY_S
    ) -> None:
        self._source, self._post, self._every_s = source, post, every_s
        self._wanted = Wanted()
        self._wake, self._done = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def want(self, wanted: Wanted) -> None:
        """Look for this from now on, and now."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._wake.set()

    def look_now(self) -> None:
        """Look without waiting for the next turn: something was just done."""
        self._wake.set()

    def close(self) -> None:
        """End the thread, and wait for it."""
        self._done = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        try:
            source = self._source()
            try:
                while not self._done:
                    self._wake.clear()
                    self._post(Looked(source.look(self._wanted)))
                    self._wake.wait(self._every_s)
            finally:
                source.close()
        except Exception as error:
            self._post(FeedFailed(error))
