"""The Textual app: starts the poller, passes its states to the screens, lists all actions in the command palette."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from platformdirs import user_downloads_path
from textual.app import SystemCommand
from textual.binding import BindingType
from textual.events import Event, InputEvent, Key
from textual.screen import Screen

from peftbench.tui import garbage
from peftbench.tui.actions import ACTIONS, BY_NAME, OF_APP
from peftbench.tui.base_app import BaseApp
from peftbench.tui.keys import KeysInOrder
from peftbench.tui.poller import PollFailed, StateReady
from peftbench.tui.screens.compare import Compare
from peftbench.tui.screens.dashboard import Dashboard
from peftbench.tui.screens.help import Help
from peftbench.tui.screens.run_screen import RunScreen
from peftbench.tui.screens.sized import Palette

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class PeftbenchApp(BaseApp):
    """The dashboard."""

    TITLE = "peftbench"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-low"), (32, "-middle"), (48, "-high")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [BY_NAME[name].binding() for name in OF_APP]

    @cached_property
    def keys(self) -> KeysInOrder:
        """The keys that are on their way."""
        return KeysInOrder(self, super().on_event)

    def get_default_screen(self) -> Screen[None]:
        """Return the dashboard screen."""
        return Dashboard()

    def on_mount(self) -> None:
        """Start the poller; exit cleanly on signals too, so that the terminal is restored."""
        self.collector.begin()
        self.set_interval(garbage.EVERY_S, self.collector.turn)
        self.poller.start()
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            with suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread, or unsupported here
                loop.add_signal_handler(number, self._exit_on_signal, number)

    def on_unmount(self) -> None:
        """Stop the poller."""
        self.poller.close()
        self.collector.end()

    async def on_event(self, event: Event) -> None:
        """Record user input, for the scheduling of garbage collection, and handle keys in order."""
        if isinstance(event, InputEvent):
            self.collector.touched()
        if isinstance(event, Key) and not event.is_forwarded:
            await self.keys.take(event)
        else:
            await super().on_event(event)

    def on_state_ready(self, message: StateReady) -> None:
        """Pass the latest state to all screens; the top one shows it, the others when they are uncovered."""
        self.snapshot = message.snapshot
        for screen in self.screen_stack:
            if isinstance(screen, RunScreen | Compare) and screen.is_mounted:
                screen.take(message.snapshot)
            if isinstance(screen, RunScreen) and screen.is_active:
                screen.show(message.snapshot)

    def show_doing(self) -> None:
        """Show in the header what is being done in threads."""
        if isinstance(self.screen, RunScreen):
            self.screen.show(self.snapshot)

    def on_poll_failed(self, message: PollFailed) -> None:
        """Exit with a traceback on an unexpected error."""
        raise message.error

    def deliver_screenshot(
        self, filename: str | None = None, path: str | None = None, time_format: str | None = None
    ) -> str | None:
        """Write a picture of the screen: into the folder of downloads if there is one, else into the current one."""
        if path is None and not user_downloads_path().is_dir():
            path = str(Path.cwd())
        return super().deliver_screenshot(filename, path, time_format)

    def action_help(self) -> None:
        """Show the help screen."""
        if not isinstance(self.screen, Help):
            self.push_screen(Help())

    def action_command_palette(self) -> None:
        """Show the command palette."""
        if self.use_command_palette and not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    async def action_quit(self) -> None:
        """Quit; runs continue."""
        self.exit(0)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Yield all actions for the command palette, before Textual's own."""
        for action in ACTIONS:
            if action.acts and self.refused:
                continue
            if action.name in OF_APP:
                yield SystemCommand(action.label, action.help, getattr(self, f"action_{action.name}"))
            elif isinstance(screen, Dashboard):
                yield SystemCommand(action.label, action.help, getattr(screen, f"action_{action.name}"))
        own = {action.label.lower() for action in ACTIONS} | {"keys", "quit", "maximize", "minimize"}
        if self.refused:
            own.add("screenshot")  # it would write a file
        yield from (command for command in super().get_system_commands(screen) if command.title.lower() not in own)

    def _exit_on_signal(self, number: int) -> None:
        self.exit(return_code=128 + number)
