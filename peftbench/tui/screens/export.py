"""Dialogue for the format and path of an export."""

from __future__ import annotations

import re
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Select, Static

from peftbench.store.rows import Run
from peftbench.text import clean
from peftbench.tui.run_actions import RunActions
from peftbench.tui.screens.sized import Sized
from peftbench.tui.widgets.choice import Choice, field

_FORMATS = {
    "csv": "csv: a folder of tables",
    "json": "json: everything in one file",
    "bundle": "bundle: for another database, with the weights",
    "peft": "peft: adapters for HF PEFT, one folder per task",
    "merged": "merged: full transformers checkpoints",
    "transformers": "transformers: classification models for pipelines",
    "tensorboard": "tensorboard: event files",
}
_SUFFIX = {"json": ".json", "bundle": ".zip"}


class Export(Sized, ModalScreen[tuple[str, str]]):
    """Returns the format and the path, or None if cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel"), Binding("enter", "start", "Export")]

    def __init__(self, run: Run, run_actions: RunActions) -> None:
        run_actions.check()
        super().__init__(classes="window")
        self.of_run = run

    def compose(self) -> ComposeResult:
        """Yield the fields."""
        with Vertical(classes="box") as box:
            box.border_title = f"Export {clean(self.of_run.name, 40)}: Enter in the path exports, Esc cancels"
            options = [(label, name) for name, label in _FORMATS.items()]
            yield from field("format", Choice(options, value="csv", allow_blank=False, id="format", compact=True))
            yield from field("to", Input(self._path("csv"), id="path", compact=True))
            yield Static("peft, merged, transformers and bundle load the weights, which takes seconds", classes="note")
            with Horizontal(classes="buttons"):
                yield Button("Export", id="start", action="screen.start", variant="primary", compact=True)
                yield Button("Cancel", id="cancel", action="screen.cancel", compact=True)

    def on_mount(self) -> None:
        """Focus the path."""
        self.query_one("#path").focus()

    @on(Select.Changed)
    def _renamed(self, event: Select.Changed) -> None:
        """Update the suggested path, unless the user has edited it."""
        path = self.query_one("#path", Input)
        if path.value in {self._path(name) for name in _FORMATS}:
            path.value = self._path(str(event.value))

    @on(Input.Submitted)
    def action_start(self) -> None:
        """Close with the chosen format and path."""
        path = self.query_one("#path", Input).value.strip()
        if path:
            self.dismiss((str(self.query_one("#format", Select).value), path))

    def action_cancel(self) -> None:
        """Cancel."""
        self.dismiss(None)

    def _path(self, what: str) -> str:
        name = re.sub("[^A-Za-z0-9._-]+", "-", self.of_run.name).strip("-.")[:100] or self.of_run.id
        return f"{name}-{what}" if what not in _SUFFIX else f"{name}{_SUFFIX[what]}"
