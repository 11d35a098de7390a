"""The app: opens the feed, hands its snapshots to the screens, does what the screens ask for."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from peftbench.errors import PeftbenchError
from peftbench.plot import BRAILLE, Glyphs
from peftbench.text import clean
from peftbench.tui.actions import ACTIONS, BY_NAME, OF_APP
from peftbench.tui.feed import Feed, FeedFailed, Looked
from peftbench.tui.palette import color_of
from peftbench.tui.screens.dashboard import Dashboard
from peftbench.tui.screens.help import Help
from peftbench.tui.snapshot import Snapshot, Wanted
from peftbench.tui.source import Source, StoreSource

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class PeftbenchApp(App[int]):
    """The dashboard.

    Args:
        database: the file whose runs it shows.
        source: where snapshots come from; None: the database. Made and used in the feed's thread alone.
        glyphs: what the terminal can show.
        showing: said in the header where it is not the database as it is, such as a replay.
    """

    TITLE = "peftbench"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-low"), (32, "-middle"), (48, "-high")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [BY_NAME[name].binding() for name in OF_APP]

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
        """Whether runs can be started and stopped here: not in a replay."""
        return not self.showing

    def get_default_screen(self) -> Screen[None]:
        """Begin with the dashboard."""
        return Dashboard()

    def on_mount(self) -> None:
        """Begin to read; leave in order on signals too, so that the terminal is as it was."""
        self.feed.start()
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            with suppress(NotImplementedError, RuntimeError, ValueError):  # no main thread, or no such signals here
                loop.add_signal_handler(number, self._leave_by, number)

    def on_unmount(self) -> None:
        """Read no more."""
        self.feed.close()

    def on_looked(self, message: Looked) -> None:
        """Hand the newest snapshot to whatever is on the screen."""
        self.snapshot = message.snapshot
        for screen in self.screen_stack:
            show = getattr(screen, "show", None)
            if show is not None and screen.is_mounted:
                show(message.snapshot)

    def on_feed_failed(self, message: FeedFailed) -> None:
        """End with the traceback: what was not foreseen is not to be hidden."""
        raise message.error

    def want(self, wanted: Wanted) -> None:
        """Read this from now on."""
        self.feed.want(wanted)

    def color(self, place: int) -> str:
        """Return the colour of the run at a place, in the theme that is shown."""
        return color_of(place, self.current_theme.dark, "ansi" in self.theme)

    def say(self, text: str, *, wrong: bool = False) -> None:
        """Tell something in passing; the text may be anybody's."""
        self.notify(clean(text), severity="error" if wrong else "information", markup=False, timeout=8 if wrong else 4)

    def do(self, work: Callable[[], str | None], after: Callable[[], None] | None = None) -> None:
        """Do something that takes a moment in a thread of its own; say what it returns, or why it could not."""

        def in_thread() -> None:
            try:
                said = work()
            except PeftbenchError as error:
                told = error.message + (f"; {error.hint}" if error.hint else "")
                self.call_from_thread(self.say, told, wrong=True)
                return
            if said:
                self.call_from_thread(self.say, said)
            self.feed.look_now()
            if after is not None:
                self.call_from_thread(after)

        self.run_worker(in_thread, thread=True, group="do", exit_on_error=True)

    def action_help(self) -> None:
        """Show the keys."""
        if not isinstance(self.screen, Help):
            self.push_screen(Help())

    async def action_quit(self) -> None:
        """Leave; the runs go on."""
        self.exit(0)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Return every action for the command palette, before Textual's own."""
        for action in ACTIONS:
            if action.name in OF_APP:
                yield SystemCommand(action.label, action.help, getattr(self, f"action_{action.name}"))
            elif isinstance(screen, Dashboard):
                yield SystemCommand(action.label, action.help, getattr(screen, f"action_{action.name}"))
        mine = {action.label.lower() for action in ACTIONS} | {"keys", "quit", "maximize", "minimize"}
        yield from (command for command in super().get_system_commands(screen) if command.title.lower() not in mine)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Nothing to do: a worker that fails ends the app, with its traceback."""
        if event.state is WorkerState.ERROR:
            event.stop()

    def _leave_by(self, number: int) -> None:
        self.exit(return_code=128 + number)


def _store_source(database: Path) -> Source:
    import platform

    return StoreSource(database, host=platform.node())
