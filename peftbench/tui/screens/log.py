"""Live view of a run's log."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Log, Static

from peftbench.jobs.logs import Tail
from peftbench.paths import worker_log
from peftbench.report.tables import run_title
from peftbench.tui.base_app import BaseApp
from peftbench.tui.screens.sized import Sized
from peftbench.tui.widgets.key_bar import KeyBar

_EVERY_S = 0.3
_MOST = 20_000  # lines


class LogView(Sized, Screen[None]):
    """The output of a run's workers, newest at the end."""

    app: BaseApp
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,l", "dismiss", "Back"), Binding("q", "app.quit", "Quit")]

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id

    def compose(self) -> ComposeResult:
        """Yield the widgets."""
        yield Static(id="title")
        yield Log(max_lines=_MOST, highlight=False)
        yield KeyBar()

    def on_mount(self) -> None:
        """Start following the log."""
        line = self.app.snapshot.line(self.run_id)
        if line is not None:
            self.query_one("#title", Static).update(run_title(line.run))
        self._tail = Tail(worker_log(self.app.database, self.run_id), _MOST)
        self._any = False
        self._read()
        self.set_interval(_EVERY_S, self._read)
        self.query_one(Log).focus()

    def _read(self) -> None:
        log = self.query_one(Log)
        new = self._tail.new()
        if not new and not self._any and not log.line_count:
            log.write_line("the worker log is empty so far")
        if new and not self._any:
            self._any = True
            log.clear()
        if new:
            log.write_lines(new)
