"""Help screen: keys, symbols and the equivalent shell commands."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Group
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from peftbench.report.plain_table import plain_table
from peftbench.text import clean
from peftbench.tui.actions import ACTIONS, key_name
from peftbench.tui.base_app import BaseApp
from peftbench.tui.screens.sized import Sized

_CHART_KEYS = (
    ("Tab", "switch between table and curves"),
    ("← →", "read values at an earlier or later point; Esc: the last ones"),
    ("+ -", "zoom in and out at the cursor; also with the mouse wheel"),
    ("[ ]", "pan left and right; also by dragging"),
    ("0", "reset the zoom"),
    ("^p", "command palette: all actions by name, and themes"),
)
_SIGNS = (
    ("━ ╍", "dev and train; gap: train minus dev, mean over tasks, at the best epoch"),
    ("dev", "mean of the tasks' dev metrics at the best epoch"),
    ("left", "time until the run ends, at its own pace; ~ of a queued run: its duration, predicted from earlier runs"),
    ("★", "the run at the cursor, if it is not pinned"),
    (
        "●(9.5)",
        "meters: the last value of a run that has ended; VRAM is its process's, GPU memory that of all processes",
    ),
    ("VRAM J", "GPU: peak memory in training, and energy of the whole run in joules; – if not measured"),
)


class Help(Sized, ModalScreen[None]):
    """The help screen."""

    app: BaseApp
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark", "dismiss", "Close")]

    def __init__(self) -> None:
        super().__init__(classes="window")

    def compose(self) -> ComposeResult:
        """Yield the page."""
        with VerticalScroll(classes="box") as box:
            box.border_title = "Help: Esc closes"
            yield Static(self._page())

    def _page(self) -> Group:
        rows = [(key_name(a.key), a.label, a.help, a.twin) for a in ACTIONS if not (a.acts and self.app.refused)]
        return Group(
            Text("All data is read from the database; quitting does not affect runs."),
            Text(f"database: {clean(self.app.database)}", style="dim"),
            Text(""),
            plain_table(("key", "", "", "command"), rows, left=4),
            Text(""),
            plain_table(("in the curves", ""), _CHART_KEYS, left=2),
            Text(""),
            plain_table(("symbols", ""), _SIGNS, left=2),
        )
