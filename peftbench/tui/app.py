"""The app: opens the feed, hands its snapshots to the screens, lists every action for the palette."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import ClassVar

from textual.app import SystemCommand
from textual.binding import BindingType
from textual.screen import Screen

from peftbench.tui.actions import ACTIONS, BY_NAME, OF_APP
from peftbench.tui.feed import FeedFailed, Looked
from peftbench.tui.host import Host
from peftbench.tui.screens.acting import ActsOnRun
from peftbench.tui.screens.dashboard import Dashboard
from peftbench.tui.screens.help import Help

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class PeftbenchApp(Host):
    """The dashboard."""

    TITLE = "peftbench"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-low"), (32, "-middle"), (48, "-high")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [BY_NAME[name].binding() for name in OF_APP]

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
            if isinstance(screen, ActsOnRun) and screen.is_mounted:
                screen.show(message.snapshot)

    def on_feed_failed(self, message: FeedFailed) -> None:
        """End with the traceback: what was not foreseen is not to be hidden."""
        raise message.error

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

    def _leave_by(self, number: int) -> None:
        self.exit(return_code=128 + number)
