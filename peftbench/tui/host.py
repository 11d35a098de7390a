"""What every screen may ask of the app: the newest snapshot, colours, a word to the user, work in a thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from textual.app import App

from peftbench.errors import PeftbenchError
from peftbench.plot import BRAILLE, Glyphs
from peftbench.text import clean
from peftbench.tui.feed import Feed
from peftbench.tui.palette import color_of
from peftbench.tui.snapshot import Snapshot, Wanted
from peftbench.tui.source import Source, StoreSource


class Host(App[int]):
    """The part of the app that screens know.

    Args:
        database: the file whose runs it shows.
        source: where snapshots come from; None: the database. Made and used in the feed's thread alone.
        glyphs: what the terminal can show.
        showing: said in the header where it is not the database as it is, such as a replay.
    """

    def __init__(
        self,
        database: Path,
        source: Callable[[], Source] | None = None,
        glyphs: Glyphs = BRAILLE,
        showing: str = "",
    ) -> None:
        super().__init__()
        self.database, self.glyphs, self.showing = database, glyphs, showing
        self.snapshot = Snapshot(0.0, read=False)
        self.set_class(glyphs.letters, "-ascii")
        self.feed = Feed(source or (lambda: _store_source(database)), self.post_message)

    @property
    def can_act(self) -> bool:
        """Whether runs can be started and stopped here: not in a replay, nor in a database that cannot be read."""
        return not self.showing and not self.snapshot.broken

    def want(self, wanted: Wanted) -> None:
        """Read this from now on."""
        self.feed.want(wanted)

    def color(self, place: int) -> str:
        """Return the colour of the run at a place, in the theme that is shown."""
        return color_of(place, self.current_theme.dark, "ansi" in self.theme)

    def say(self, text: str, *, wrong: bool = False) -> None:
        """Tell something in passing; the text may be anybody's."""
        self.notify(clean(text), severity="error" if wrong else "information", markup=False, timeout=8 if wrong else 4)

    def do(self, work: Callable[[], str]) -> None:
        """Do something that takes a moment in a thread of its own; say what it returns, or why it could not."""

        def in_thread() -> None:
            try:
                said = work()
            except PeftbenchError as error:
                told = error.message + (f"; {error.hint}" if error.hint else "")
                self.call_from_thread(self.say, told, wrong=True)
                return
            self.call_from_thread(self.say, said)
            self.feed.look_now()

        self.run_worker(in_thread, thread=True, group="do", exit_on_error=True)


def _store_source(database: Path) -> Source:
    import platform

    return StoreSource(database, host=platform.node())
