"""The form of a new run: checked as it is typed, with the time and memory that it will take."""

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
from peftbench.jobs.places import cards_here
from peftbench.spec.resolve import DEFAULT_WORKLOAD, Resolved
from peftbench.store.rows import RunSettings
from peftbench.text import clean
from peftbench.tui.host import Host
from peftbench.tui.plan import Form, MemoryPrediction, choices, plan, summary, time_needed
from peftbench.tui.widgets.choice import Choice, field

_PRESET = "lora-r12"
_SOON_S = 0.15  # after a key, until the form is checked
_LATER_S = 0.8  # until memory is predicted: that is a process, and seconds of work
_ANY = "any"


class NewRun(ModalScreen[list[str]]):
    """Asks what to run; ends with the ids of the queued runs, or with nothing."""

    app: Host
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel"),
        Binding("enter", "start", "Start"),
    ]

    def __init__(self, database: Path) -> None:
        super().__init__(classes="window")
        self.database = database
        self._check_soon: Timer | None = None
        self._predict_later: Timer | None = None
        self._prediction: MemoryPrediction | None = None
        self._runs: list[Resolved] | None = None
        self._told: list[str] = []
        self._queuing = False

    def compose(self) -> ComposeResult:
        """Lay the fields out."""
        here = Path.cwd()
        presets, workloads = choices("preset", here), choices("workload", here)
        with Vertical(classes="box") as box:
            box.border_title = "New run: ↓ opens a list, Enter starts it, Esc leaves"
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
        """Begin at the preset; look which cards there are."""
        self.query_one("#preset").focus()
        self.run_worker(self._find_cards, thread=True)
        self._changed()

    def on_unmount(self) -> None:
        """Let what is still predicted be."""
        if self._prediction is not None:
            self._prediction.cancel()

    @on(Input.Changed)
    @on(Select.Changed)
    def _changed(self) -> None:
        """Check the form soon, and predict its memory when nobody has typed for a while."""
        self._runs = None
        if self._prediction is not None:
            self._prediction.cancel()
            self._prediction = None
        for timer in (self._check_soon, self._predict_later):
            if timer is not None:
                timer.stop()
        self._check_soon = self.set_timer(_SOON_S, self._check)

    @on(Input.Submitted)
    def action_start(self) -> None:
        """Queue the runs."""
        if self._queuing:
            return
        try:
            runs = plan(self._form())
        except PeftbenchError as error:
            self._say_wrong(error)
            return
        self._queuing = True
        device = self._form().device
        self.run_worker(lambda: self._queue(runs, device), thread=True)

    def action_cancel(self) -> None:
        """Leave without a run, where none is being queued."""
        if not self._queuing:
            self.dismiss(None)

    def _form(self) -> Form:
        def text(name: str) -> str:
            return self.query_one(f"#{name}", Input).value

        def chosen(name: str) -> str:
            return str(self.query_one(f"#{name}", Select).value)

        device = chosen("device")
        said = {_ANY: None, "cpu": ""}.get(device, device)
        return Form(
            chosen("preset"), chosen("workload"), text("data"), text("overrides"), text("seed"), text("seeds"), said
        )

    def _check(self) -> None:
        form = self._form()
        try:
            runs = plan(form)
        except PeftbenchError as error:
            self._say_wrong(error)
            return
        self._runs = runs
        stored = [line.run for line in self.app.snapshot.lines]
        self._told = [summary(runs), time_needed(runs, stored, platform.node()), "memory: being predicted …"]
        self._say()
        self._predict_later = self.set_timer(_LATER_S, lambda: self._predict(form))

    def _predict(self, form: Form) -> None:
        if self._prediction is not None:
            self._prediction.cancel()
        computes_on_card = bool(self.app.snapshot.machine.cards) and form.device != ""
        prediction = self._prediction = MemoryPrediction(form, "cuda" if computes_on_card else "cpu")

        def in_thread() -> None:
            said = prediction.result()
            if prediction is self._prediction and self.is_mounted:
                self.app.call_from_thread(self._predicted, said)

        self.run_worker(in_thread, thread=True, group="predict")

    def _predicted(self, said: str) -> None:
        if self._told and self._runs is not None:
            self._told[-1] = said
            self._say()

    def _say(self) -> None:
        said = self.query_one("#said", Static)
        said.remove_class("-wrong")
        said.update(Text("\n".join(self._told)))

    def _say_wrong(self, error: PeftbenchError) -> None:
        said = self.query_one("#said", Static)
        said.add_class("-wrong")
        lines = [clean(line) for line in error.message.splitlines()]
        said.update(Text("\n".join([*lines, *([clean(error.hint)] if error.hint else [])])))

    def _queue(self, runs: list[Resolved], device: str | None) -> None:
        from peftbench.jobs.queue import enqueue, fresh_label

        label = fresh_label(runs[0].spec.preset) if len(runs) > 1 else None
        try:
            ids = enqueue(self.database, runs, sweep=label, settings=RunSettings(), device=device)
        except PeftbenchError as error:
            self._queuing = False
            self.app.call_from_thread(self._say_wrong, error)
            return
        self.app.call_from_thread(self._queued, ids)

    def _queued(self, ids: list[str]) -> None:
        while self.app.screen is not self:  # the palette, say
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
