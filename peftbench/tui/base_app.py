"""Services of the app for its screens: latest state, colours, notifications, background work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from textual.app import App

from peftbench.errors import PeftbenchError
from peftbench.plot import BRAILLE, Glyphs
from peftbench.text import clean
from peftbench.tui import garbage
from peftbench.tui.pins import color_of
from peftbench.tui.poller import Poller
from peftbench.tui.replay import ReplaySource
from peftbench.tui.run_actions import RunActions
from peftbench.tui.source import StateSource, StoreSource
from peftbench.tui.state import DashboardState, StateRequest


class BaseApp(App[int]):
    """Base class of the app with the interface that screens use.

    Args:
        database: path of the database whose runs are shown.
        source: factory of the state source (None: the database). Called and used only in the poller's thread.
        glyphs: characters that the terminal can show.
        refused: why runs cannot be changed here (a replay, or read-only); shown in the header. Empty if they can.
    """

    def __init__(
        self,
        database: Path,
        source: Callable[[], StateSource] | None = None,
        glyphs: Glyphs = BRAILLE,
        refused: str = "",
    ) -> None:
        super().__init__()
        self.database, self.glyphs, self.refused = database, glyphs, refused
        self.replayed: ReplaySource | None = None  # the source, if a run is replayed
        self.run_actions = RunActions(database, refused)
        self.snapshot = DashboardState(0.0, read=False)
        self.set_class(glyphs.letters, "-ascii")
        self._doing: list[str] = []
        self.collector = garbage.Collector()
        self.poller = Poller(source or (lambda: _store_source(database)), self.post_message)

    @property
    def can_act(self) -> bool:
        """Whether runs can be changed: not in a replay or read-only dashboard, nor if the database cannot be read."""
        return not self.refused and not self.snapshot.broken

    def want(self, wanted: StateRequest) -> None:
        """Set what the poller reads."""
        self.poller.want(wanted)

    def color(self, slot: int) -> str:
        """Return the colour of a slot in the current theme."""
        return color_of(slot, self.current_theme.dark, "ansi" in self.theme)

    def show_message(self, text: str, *, wrong: bool = False) -> None:
        """Show a notification; control characters are removed from the text."""
        self.notify(clean(text), severity="error" if wrong else "information", markup=False, timeout=8 if wrong else 4)

    @property
    def doing(self) -> str:
        """What is being done in threads, for the header; empty if nothing is."""
        return ", ".join(f"{what} …" for what in self._doing)

    def run_in_thread(self, work: Callable[[], str], what: str) -> None:
        """Run slow work in a separate thread, and notify the user of its result or error message.

        Args:
            work: returns the message.
            what: what the header says meanwhile, such as "queuing the demo": a locked database takes seconds.
        """

        def in_thread() -> None:
            try:
                message, wrong = work(), False
            except PeftbenchError as error:
                message, wrong = error.message + (f"; {error.hint}" if error.hint else ""), True
            self.call_from_thread(done, message, wrong)

        def done(message: str, wrong: bool) -> None:
            self._doing.remove(what)
            self.show_message(message, wrong=wrong)
            self.show_doing()
            self.poller.look_now()

        self._doing.append(what)
        self.show_doing()
        self.run_worker(in_thread, thread=True, group="do", exit_on_error=True)

    def show_doing(self) -> None:
        """Show what is being done; for the app to implement."""


def _store_source(database: Path) -> StateSource:
    import platform

    return StoreSource(database, host=platform.node())
