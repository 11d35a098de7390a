"""Comparison of runs: their curves, and the output of `peftbench compare`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from peftbench.errors import PeftbenchError
from peftbench.jobs.liveness import state_shown
from peftbench.report.charts.overlay import Pinned
from peftbench.store.reader import Reader
from peftbench.store.rows import ACTIVE_STATES, RunRecord
from peftbench.text import clean
from peftbench.tui.base_app import BaseApp
from peftbench.tui.screens.sized import Sized
from peftbench.tui.state import DashboardState
from peftbench.tui.widgets.curve_chart import CurveChart
from peftbench.tui.widgets.key_bar import KeyBar

_EVERY_S = 30.0  # between comparisons of runs that train: resampling takes seconds of a core


class Compare(Sized, Screen[None]):
    """Comparison screen; the first side that can be compared is the baseline. A side is a run, or a group's runs.

    Runs without a finished epoch are named and left out until they have one. While runs train, it is made anew when
    one ends or has its first epoch, and for further epochs every `_EVERY_S`.
    """

    app: BaseApp
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,c", "dismiss", "Back"),
        Binding("t", "task", "Task", tooltip="Curves of the next task, or of the mean over tasks"),
        Binding("x", "axis", "Axis", tooltip="Curves over epochs, steps, minutes or kilojoules"),
        Binding("b", "baseline", "Baseline", tooltip="Make the next run the baseline"),
        Binding("q", "app.quit", "Quit"),
    ]

    def __init__(self, sides: Sequence[str | Sequence[str]], slots: Mapping[str, int]) -> None:
        super().__init__()
        self.sides = [(side,) if isinstance(side, str) else tuple(side) for side in sides]
        ids = [run_id for side in self.sides for run_id in side]
        self.slots = {**{run_id: number for number, run_id in enumerate(ids)}, **slots}
        self._compared: tuple[object, object] | None = None  # the runs' states and epochs that are on the screen
        self._compared_s = 0.0
        self._busy = False

    def compose(self) -> ComposeResult:
        """Yield the widgets."""
        yield Static(id="title")
        yield CurveChart(self.app.glyphs, id="curves", classes="part")
        with VerticalScroll(classes="part page"):
            yield Static("comparing …", id="verdict")
        yield KeyBar()

    def on_mount(self) -> None:
        """Start the comparison in a thread: resampling is slow."""
        self.query_one(VerticalScroll).focus()
        self._compared = self._stage(self.app.snapshot)
        self._compare()

    def take(self, snapshot: DashboardState) -> None:
        """Compare again if runs have moved on."""
        stage = self._stage(snapshot)
        if self._busy or not self.is_active or self._compared is None or stage == self._compared:
            return
        if stage[0] != self._compared[0] or time.monotonic() - self._compared_s >= _EVERY_S:
            self._compared = stage
            self._compare()

    def _stage(self, snapshot: DashboardState) -> tuple[object, object]:
        """Return what decides on a new comparison: at once, and in time."""
        lines = [snapshot.line(run_id) for side in self.sides for run_id in side]
        shown = [line for line in lines if line is not None]
        return (
            frozenset((line.run.id, line.state in ACTIVE_STATES, line.run.epochs_done > 0) for line in shown),
            frozenset((line.run.id, line.run.epochs_done) for line in shown),
        )

    def action_task(self) -> None:
        """Show the next task's curves."""
        self.query_one(CurveChart).next_task()

    def action_axis(self) -> None:
        """Switch to the next x axis."""
        self.query_one(CurveChart).next_axis()

    def action_baseline(self) -> None:
        """Make the next side the baseline."""
        self.sides = [*self.sides[1:], self.sides[0]]
        self._compare()

    def _compare(self) -> None:
        chosen = tuple(self.sides)
        self._busy, self._compared_s = True, time.monotonic()
        self.run_worker(lambda: self._in_thread(chosen), thread=True, exclusive=True, group="compare")

    def _in_thread(self, chosen: Sequence[Sequence[str]]) -> None:
        from peftbench.analysis.comparison import compare
        from peftbench.report import comparison

        sides: list[list[RunRecord]] = []
        page: RenderableType
        try:
            with Reader(self.app.database) as reader:
                every = [[reader.record(reader.run(run_id), predictions=True) for run_id in side] for side in chosen]
            waiting = [record for side in every for record in side if record.run.best_epoch is None]
            sides = [own for side in every if (own := [each for each in side if each.run.best_epoch is not None])]
            page = (
                comparison.shown(compare([side[0] if len(side) == 1 else side for side in sides]))
                if len(sides) > 1
                else Text("fewer than two can be compared yet")
            )
            if waiting:
                page = Group(_left_out(waiting), page)
        except PeftbenchError as error:
            page = Group(Text(clean(error.message), style="bold"), Text(clean(error.hint or "")))
        self.app.call_from_thread(self._show, sides, page)

    def _show(self, sides: Sequence[Sequence[RunRecord]], page: RenderableType) -> None:
        self._busy = False
        if not self.is_mounted:
            return
        records = [record for side in sides for record in side]
        names = [clean(side[0].run.name if len(side) == 1 else side[0].run.preset) for side in sides]
        title = f"{', '.join(names[1:])} against {names[0]}" if names else "compare"
        self.query_one("#title", Static).update(Text(title, style="bold", no_wrap=True, overflow="ellipsis"))
        slots = [self.slots[record.run.id] for record in records]
        self.query_one(CurveChart).show(
            [Pinned(record, slot, self.app.color(slot)) for record, slot in zip(records, slots, strict=True)]
        )
        self.query_one("#verdict", Static).update(page)


def _left_out(waiting: Sequence[RunRecord]) -> Text:
    named = ", ".join(f"{clean(record.run.name)} ({state_shown(record.run)})" for record in waiting)
    return Text(f"left out, without a finished epoch: {named}", style="bold yellow")
