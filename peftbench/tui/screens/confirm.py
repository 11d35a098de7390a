"""Confirmation dialogue."""

from __future__ import annotations

from typing import ClassVar, Literal

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from peftbench.text import clean
from peftbench.tui.screens.sized import Sized


class Confirm(Sized, ModalScreen[bool]):
    """Ask before an action that is irreversible or long. Enter means no; `y` means yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "answer(False)", "No"),
        Binding("y", "answer(True)", "Yes"),
    ]

    def __init__(self, question: str, yes: str, *, dangerous: bool = True) -> None:
        super().__init__(classes="window")
        self.question, self.yes = clean(question), yes
        self._variant: Literal["error", "primary"] = "error" if dangerous else "primary"

    def compose(self) -> ComposeResult:
        """Yield the widgets."""
        with Vertical(classes="box"):
            yield Static(Text(self.question))
            with Horizontal(classes="buttons"):
                yield Button("No (n)", id="no", action="screen.answer(False)")
                yield Button(f"{self.yes} (y)", id="yes", action="screen.answer(True)", variant=self._variant)

    def on_mount(self) -> None:
        """Focus the button No."""
        self.query_one("#no").focus()

    def action_answer(self, yes: bool) -> None:
        """Close the dialogue with an answer."""
        self.dismiss(yes)
