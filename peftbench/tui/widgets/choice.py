"""Form fields."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input, Label, Select


class Choice(Select[str], inherit_bindings=False):
    """A drop-down list opened by Enter, arrow keys or the space bar."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,down,up,space", "show_overlay", "Choose", show=False)]


def field(label: str, widget: Input | Choice) -> ComposeResult:
    """Yield a labelled field."""
    with Horizontal(classes="field"):
        yield Label(label)
        yield widget
