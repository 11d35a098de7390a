"""A question that is answered by a line of text."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from peftbench.tui.screens.sized import Sized


class Ask(Sized, ModalScreen[str | None]):
    """Returns the text, or None if cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel")]

    def __init__(self, question: str, text: str = "") -> None:
        super().__init__(classes="window")
        self._question, self._text = question, text

    def compose(self) -> ComposeResult:
        """Yield the field."""
        with Vertical(classes="box") as box:
            box.border_title = f"{self._question}: Enter keeps, Esc cancels"
            yield Input(self._text, id="answer", compact=True, select_on_focus=False)

    def on_mount(self) -> None:
        """Focus the field."""
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def _answered(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)

    def action_cancel(self) -> None:
        """Close without an answer."""
        self.dismiss(None)
