"""Fields of forms."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input, Label, Select


class Choice(Select[str], inherit_bindings=False):
    """A list to choose from, which the arrows or the space bar open: Enter is for the form."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("down,up,space", "show_overlay", "Choose", show=False)]


def field(label: str, widget: Input | Choice) -> ComposeResult:
    """Yield a field with its label before it."""
    with Horizontal(classes="field"):
        yield Label(label)
        yield widget
