"""The keys, what the signs mean, and the commands that do the same without a screen."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Group
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from peftbench.report.layout import plain_table
from peftbench.text import clean
from peftbench.tui.actions import ACTIONS, key_name
from peftbench.tui.host import Host

_CHART_KEYS = (
    ("Tab", "the table, the curves, and back"),
    ("← →", "read the values at an earlier or a later point; Esc: the last ones"),
    ("+ -", "zoom in and out, about the cursor; also with the mouse wheel"),
    ("[ ]", "an earlier or a later stretch; also by dragging"),
    ("0", "all of it"),
    ("^p", "every action by name, and the colours (themes)"),
)
_SIGNS = (
    ("━ ╍", "dev, and train: how far they part is the gap, train less dev of the tasks' mean at the best epoch"),
    ("dev", "the mean of the tasks' dev metrics at the best epoch"),
    ("left", "until the run ends, by its own pace; ~ of a queued one how long it will take, by earlier runs"),
    ("VRAM J", "peak memory in training, and joules of the whole run, of the GPU; – where it was not measured"),
)


class Help(ModalScreen[None]):
    """What can be done here."""

    app: Host
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark", "dismiss", "Close")]

    def __init__(self) -> None:
        super().__init__(classes="window")

    def compose(self) -> ComposeResult:
        """Lay the page out."""
        with VerticalScroll(classes="box") as box:
            box.border_title = "Help: Esc closes it"
            yield Static(self._page())

    def _page(self) -> Group:
        rows = [(key_name(a.key), a.label, a.help, a.twin) for a in ACTIONS]
        return Group(
            Text("What is shown is read from the store; leaving touches no run."),
            Text(f"database: {clean(self.app.database)}", style="dim"),
            Text(""),
            plain_table(("key", "", "", "without a screen"), rows, left=4),
            Text(""),
            plain_table(("in the curves", ""), _CHART_KEYS, left=2),
            Text(""),
            plain_table(("signs", ""), _SIGNS, left=2),
        )
