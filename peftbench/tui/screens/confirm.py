"""A question with two answers."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from peftbench.text import clean


class Confirm(ModalScreen[bool]):
    """Asks before something that cannot be taken back. Enter is no: `y` is yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "answer(False)", "No"),
        Binding("y", "answer(True)", "Yes"),
    ]

    def __init__(self, question: str, yes: str) -> None:
        super().__init__(classes="window")
        self.question, self.yes = clean(question), yes

    def compose(self) -> ComposeResult:
        """Lay the question out."""
        with Vertical(classes="box"):
            yield Static(Text(self.question))
            with Horizontal(classes="buttons"):
                yield Button("No (n)", id="no", action="screen.answer(False)")
                yield Button(f"{self.yes} (y)", id="yes", action="screen.answer(True)", variant="error")

    def on_mount(self) -> None:
        """Begin at no."""
        self.query_one("#no").focus()

    def action_answer(self, yes: bool) -> None:
        """Answer."""
        self.dismiss(yes)
