"""Form for a new run: validated while typing, with predicted time and memory."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Button, Input, Select, Static

from peftbench.errors import PeftbenchError
from peftbench.jobs.devices import cards_here
from peftbench.spec.resolve import DEFAULT_WORKLOAD, Resolved
from peftbench.text import clean
from peftbench.tui.base_app import BaseApp
from peftbench.tui.form import Form, MemoryEstimate, choices, plan, summary, time_needed
from peftbench.tui.run_actions import RunActions
from peftbench.tui.screens.sized import Sized
from peftbench.tui.widgets.choice import Choice, field

_PRESET = "lora-r12"
_SOON_S = 0.15  # delay after a key press until the form is checked
_LATER_S = 0.8  # delay until memory is predicted, in a subprocess that takes seconds
_ANY = "any"


class NewRunScreen(Sized, ModalScreen[list[str]]):
    """Form for a new run; returns the ids of the queued runs, or None if cancelled."""

    app: BaseApp
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel"),
        Binding("enter", "start", "Start"),
    ]

    def __init__(self, run_actions: RunActions) -> None:
        run_actions.check()  # the form reads files and starts a subprocess
        super().__init__(classes="window")
        self.run_actions = run_actions
        self._check_soon: Timer | None = None
        self._predict_later: Timer | None = None
        self._prediction: MemoryEstimate | None = None
        self._shown: tuple[Form, list[Resolved]] | None = None  # what the screen says will run, for which fields
        self._told: list[str] = []
        self._queuing = False

    def compose(self) -> ComposeResult:
        """Yield the fields."""
        here = Path.cwd()
        presets, workloads = choices("preset", here), choices("workload", here)
        with Vertical(classes="box") as box:
            box.border_title = "New run: Enter opens a list, and starts from a field; Esc cancels"
            with VerticalScroll(id="fields"):
                yield from field("preset", _select("preset", presets, _PRESET))
                yield from field("workload", _select("workload", workloads, DEFAULT_WORKLOAD))
                yield from field(
                    "data", Input(placeholder="DIR or TASK=DIR of the workload's files", id="data", compact=True)
                )
                yield from field(
                    "overrides", Input(placeholder="train.epochs=2 method.rank=8", id="overrides", compact=True)
                )
                yield from field("first seed", Input("0", id="seed", type="integer", compact=True))
                yield from field("seeds", Input("1", id="seeds", type="integer", compact=True))
                yield from field("device", _select("device", [_ANY, "cpu"], _ANY))
            yield Static(id="said")
            with Horizontal(classes="buttons"):
                yield Button("Start", id="start", action="screen.start", variant="primary", compact=True)
                yield Button("Cancel", id="cancel", action="screen.cancel", compact=True)

    def on_mount(self) -> None:
        """Focus the preset, and list the GPUs in a thread."""
        self.query_one("#preset").focus()
        self.run_worker(self._find_cards, thread=True)
        self._changed()

    def on_unmount(self) -> None:
        """Cancel a pending memory prediction."""
        if self._prediction is not None:
            self._prediction.cancel()

    @on(Input.Changed)
    @on(Select.Changed)
    def _changed(self) -> None:
        """Schedule a check of the form, and a memory prediction after a pause in typing."""
        if self._shown is not None and self._shown[0] == self._form():
            return
        self._shown = None
        if self._prediction is not None:
            self._prediction.cancel()
            self._prediction = None
        for timer in (self._check_soon, self._predict_later):
            if timer is not None:
                timer.stop()
        self._check_soon = self.set_timer(_SOON_S, self._check)

    @on(Input.Submitted)
    def action_start(self) -> None:
        """Queue the runs that the screen shows, if it shows those of the fields as they are now; else show them.

        Keys that come at once are given to the focused field before Tab has moved on: Enter may be ahead of a text.
        """
        if self._queuing:
            return
        form = self._form()
        if self._shown is None or self._shown[0] != form:
            self._check()
            return
        runs = self._shown[1]
        self._queuing = True
        self._say(f"queuing {len(runs)} run{'s' * (len(runs) > 1)} …")
        self.query_one("#start", Button).disabled = True
        self.run_worker(lambda: self._queue(runs, form.device), thread=True)

    def action_cancel(self) -> None:
        """Close without a run, unless runs are being queued."""
        if not self._queuing:
            self.dismiss(None)

    def _form(self) -> Form:
        def text(name: str) -> str:
            return self.query_one(f"#{name}", Input).value

        def chosen(name: str) -> str:
            return str(self.query_one(f"#{name}", Select).value)

        device = chosen("device")
        setting = {_ANY: None, "cpu": ""}.get(device, device)
        return Form(
            chosen("preset"), chosen("workload"), text("data"), text("overrides"), text("seed"), text("seeds"), setting
        )

    def _check(self) -> None:
        """Check the fields, and show what they would run or what is wrong."""
        if self._check_soon is not None:
            self._check_soon.stop()
        form = self._form()
        try:
            runs = plan(form)
        except PeftbenchError as error:
            self._say_wrong(error)
            return
        stored = [line.run for line in self.app.snapshot.lines]
        self._told = [summary(runs), time_needed(runs, stored, platform.node()), "memory: predicting …"]
        self._say("Enter starts")
        self.call_after_refresh(self._has_shown, form, runs)
        self._predict_later = self.set_timer(_LATER_S, lambda: self._predict(form))

    def _has_shown(self, form: Form, runs: list[Resolved]) -> None:
        """Note what is on the screen now, unless a field has changed since."""
        if form == self._form():
            self._shown = form, runs

    def _predict(self, form: Form) -> None:
        if self._prediction is not None:
            self._prediction.cancel()
        computes_on_card = bool(self.app.snapshot.machine.cards) and form.device != ""
        prediction = self._prediction = MemoryEstimate(form, "cuda" if computes_on_card else "cpu")

        def in_thread() -> None:
            message = prediction.result()
            if prediction is self._prediction and self.is_mounted:
                self.app.call_from_thread(self._predicted, message)

        self.run_worker(in_thread, thread=True, group="predict")

    def _predicted(self, message: str) -> None:
        if self._told and self._shown is not None and not self._queuing:
            self._told[-1] = message
            self._say("Enter starts")

    def _say(self, last: str) -> None:
        status = self.query_one("#said", Static)
        status.remove_class("-wrong")
        status.update(Text("\n".join([*self._told, last])))

    def _say_wrong(self, error: PeftbenchError) -> None:
        self._shown = None
        status = self.query_one("#said", Static)
        status.add_class("-wrong")
        lines = [clean(line) for line in error.message.splitlines()]
        status.update(Text("\n".join([*lines, *([clean(error.hint)] if error.hint else [])])))

    def _queue(self, runs: list[Resolved], device: str | None) -> None:
        try:
            ids = self.run_actions.queue(runs, device)
        except PeftbenchError as error:
            self.app.call_from_thread(self._not_queued, error)
            return
        self.app.call_from_thread(self._queued, ids)

    def _not_queued(self, error: PeftbenchError) -> None:
        self._queuing = False
        self.query_one("#start", Button).disabled = False
        self._say_wrong(error)

    def _queued(self, ids: list[str]) -> None:
        while self.app.screen is not self:  # e.g. the command palette
            self.app.pop_screen()
        self.dismiss(ids)

    def _find_cards(self) -> None:
        cards = cards_here()
        if cards:
            self.app.call_from_thread(self._offer, cards)

    def _offer(self, cards: tuple[str, ...]) -> None:
        names = {card.index: card.name for card in self.app.snapshot.machine.cards}
        options = [
            (_ANY, _ANY),
            *((f"GPU{i} {names.get(i, '')} {card[:12]}", card) for i, card in enumerate(cards)),
            ("cpu", "cpu"),
        ]
        self.query_one("#device", Select).set_options([(clean(name), value) for name, value in options])
        self.query_one("#device", Select).value = _ANY


def _select(name: str, values: list[str], chosen: str) -> Choice:
    return Choice([(clean(value), value) for value in values], value=chosen, allow_blank=False, id=name, compact=True)
