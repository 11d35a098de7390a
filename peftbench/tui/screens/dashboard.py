"""The main screen: all runs, the curves and meters of pinned runs, the machine."""

from __future__ import annotations

import platform
from contextlib import suppress
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Resize
from textual.widgets import Input

from peftbench.analysis.run_filter import parsed
from peftbench.errors import UsageError
from peftbench.report.charts.meter_charts import Sampled
from peftbench.report.charts.overlay import Pinned
from peftbench.text import clean
from peftbench.tui.actions import ACTIONS, OF_APP
from peftbench.tui.form import time_needed
from peftbench.tui.lines import header, machine_lines, run_lines
from peftbench.tui.listing import ORDERS, listed
from peftbench.tui.machine import Machine
from peftbench.tui.pins import SELECTED_SLOT, Pins
from peftbench.tui.run_actions import DEMO, demo_runs
from peftbench.tui.screens.compare import Compare
from peftbench.tui.screens.confirm import Confirm
from peftbench.tui.screens.new_run import NewRunScreen
from peftbench.tui.screens.run_screen import RunScreen
from peftbench.tui.screens.run_view import RunView
from peftbench.tui.screens.standings import StandingsScreen
from peftbench.tui.state import DashboardState, StateRequest
from peftbench.tui.widgets.chart_grid import ChartGrid, slots_of
from peftbench.tui.widgets.curve_chart import CurveChart
from peftbench.tui.widgets.key_bar import KeyBar
from peftbench.tui.widgets.meters import Meters
from peftbench.tui.widgets.partial import Lines
from peftbench.tui.widgets.runs_table import Mark, RunsTable

_WINDOWS: tuple[int | None, ...] = (60, 300, 1800, None)
_OF_TABLE = ("pin", "open")  # bound by the table, so that the space bar is free elsewhere
_MORE = 500  # runs listed at first, and added when the table is scrolled to its end
_LOW = 32  # screen height below which fewer lines are shown
_NO_RUNS = "No runs yet in {database}"
_EMPTY = (
    _NO_RUNS
    + """

  D  run the demo: last-layer, full, LoRA and DoRA on built-in
     data; some minutes, no download
  n  choose a preset and a workload yourself
  ?  help"""
)


class Dashboard(RunScreen):
    """Overview of all runs."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(action.binding() for action in ACTIONS if action.name not in (*OF_APP, *_OF_TABLE)),
        Binding("0", "fit", "Fit", show=False, tooltip="Show the whole range in all charts"),
        Binding("less_than_sign", "seek(-0.05)", "Back", show=False, tooltip="In a replay: back by 5 % of the run"),
        Binding("greater_than_sign", "seek(0.05)", "On", show=False, tooltip="In a replay: on by 5 % of the run"),
        Binding("escape", "no_filter", "No filter", show=False, tooltip="List all runs again"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.pins = Pins()
        self.query_text, self.run_query, self.query_problem = "", parsed(""), ""
        self.order = ORDERS[0]
        self.window_s = _WINDOWS[1]
        self.card: int | None = None  # place of the GPU whose own readings are shown; None: those of the runs
        self.most = _MORE
        self._laid_out = False

    def compose(self) -> ComposeResult:
        """Yield the widgets."""
        glyphs = self.app.glyphs
        self._texts = {name: Lines(id=name) for name in ("header", "problem", "nothing", "run_lines", "machine_lines")}
        self._table = RunsTable(letters=glyphs.letters, id="runs")
        self._table.add_class("part")
        self._filter = Input(
            placeholder="words, or method:dora rank>=12 state:failed tag:baseline -word; Esc clears",
            id="filter",
            compact=True,
        )
        self._curves = ChartGrid(glyphs, id="charts")
        self._meters = Meters(glyphs, id="meters")
        yield self._texts["header"]
        yield self._texts["problem"]
        yield self._table
        yield self._filter
        yield Vertical(self._texts["nothing"], id="empty")
        yield Horizontal(self._curves, self._meters, id="middle")
        yield Vertical(self._texts["run_lines"], self._texts["machine_lines"], id="lines")
        yield KeyBar()

    def on_mount(self) -> None:
        """Focus the table."""
        self._table.focus()
        self._laid_out = True
        self.show(self.app.snapshot)

    @property
    def run_at_hand(self) -> str | None:
        """The id of the selected run."""
        return self._table.run_id

    def on_resize(self, event: Resize) -> None:
        """Lay out the lines again."""
        self.call_after_refresh(lambda: self.show(self.app.snapshot))

    def take(self, snapshot: DashboardState) -> None:
        """Update the pins, and request the runs that this screen and those above it show."""
        if snapshot.read and self._laid_out:
            self.pins.take(snapshot.pinned, {line.run.id for line in snapshot.lines})
            self._want()

    def show(self, snapshot: DashboardState) -> None:
        """Show a snapshot."""
        if not snapshot.read or not self._laid_out:
            return
        cells = self.size.width - 2
        self._texts["header"].put(header(snapshot, self.app.database, cells, self.app.refused, self.app.doing))
        self._texts["problem"].set_class(snapshot.problem is not None, "-shown")
        self._texts["problem"].put(Text(clean(snapshot.problem or "")))
        self.set_class(not snapshot.lines, "-empty")
        if snapshot.lines and self.focused is None:
            self._table.focus()
        if not snapshot.lines:
            template = _NO_RUNS if self.app.refused else _EMPTY
            self._texts["nothing"].put(Text(template.format(database=clean(self.app.database))))
        self.pins.take(snapshot.pinned, {line.run.id for line in snapshot.lines})
        self._show_table(snapshot)
        self._show_charts(snapshot)
        self._show_lines(snapshot, cells)
        self._want()

    def _show_table(self, snapshot: DashboardState) -> None:
        lines = listed(snapshot.lines, self.run_query, self.order)
        table = self._table
        table.show(lines, self._marks(), self.size.width, snapshot.differs)
        total = len(snapshot.lines) if snapshot.total is None else snapshot.total
        held = f"the newest {len(snapshot.lines):,} of {total:,}" if total > len(snapshot.lines) else f"{total}"
        count = f"{len(lines)} of {held}" if self.run_query.terms else held
        problem = self.query_problem or (
            self.run_query.unknown([line.run for line in snapshot.lines]) if self.run_query.terms and not lines else ""
        )
        at_end = len(table.shown_ids) < table.size.height or table.shown_ids[-1:] == tuple(
            line.run.id for line in lines[-1:]
        )
        if total > len(snapshot.lines) >= self.most and at_end:
            self.most += _MORE
        table.set_title(f"runs ({count}, {self.order.label}){f': {problem}' if problem else ''}")

    def _marks(self) -> dict[str, Mark]:
        """Return the markers of the runs that are drawn, by run id."""
        marker, color = self.app.glyphs.marker, self.app.color
        return {run_id: Mark(marker(slot, dashed=False), color(slot)) for run_id, slot in self._slots().items()}

    def _show_charts(self, snapshot: DashboardState) -> None:
        slots = self._slots()
        shown = (*(run_id for run_id in snapshot.pinned if run_id in self.pins.slots), *slots)  # the cursor's on top
        drawn = [
            (Pinned(detail.record, slots[run_id], self.app.color(slots[run_id]), detail.points), detail.samples)
            for run_id in dict.fromkeys(shown)
            if (detail := snapshot.details.get(run_id)) is not None
        ]
        self._curves.fit(slots_of(*self.size))
        self._curves.show([pinned for pinned, _ in drawn])
        if self._meters.display:
            runs = [Sampled.of_run(*run) for run in drawn] if self.card is None else []
            self._meters.show(runs, self._own_readings(snapshot.machine), snapshot.now_s, self.window_s)

    def _slots(self) -> dict[str, int]:
        """Return the slots of the pinned runs, and of the run at the cursor."""
        here = self._table.run_id
        return {**({here: SELECTED_SLOT} if here else {}), **self.pins.slots}

    def _own_readings(self, machine: Machine) -> list[Sampled]:
        """Return this machine's readings: of the chosen GPU, of all of them, or without a GPU of the host."""
        cards = machine.cards if self.card is None else machine.cards[self.card : self.card + 1]
        if not cards:
            return [Sampled("now", self.app.color(0), machine.history)]
        return [Sampled(f"GPU{card.index}", self.app.color(card.index), card.history) for card in cards]

    def _show_lines(self, snapshot: DashboardState, cells: int) -> None:
        run_id = self._table.run_id
        detail = snapshot.details.get(run_id) if run_id else None
        lines = run_lines(detail, snapshot.line(run_id), cells, snapshot.now_s, self.app.glyphs)
        low = self.size.height < _LOW
        self._texts["run_lines"].put(Text("\n").join(lines[-1:] if low else lines))
        most = 1 if low else 4
        self._texts["machine_lines"].put(
            Text("\n").join(machine_lines(snapshot.machine, cells, most, self.app.glyphs, self.card or 0))
        )

    def _want(self) -> None:
        table = self._table
        opened = [screen.run_id for screen in self.app.screen_stack if isinstance(screen, RunView)]
        looked_at = (*([table.run_id] if table.run_id else []), *opened)
        self.app.want(StateRequest(self.pins.wanted, looked_at, self.window_s, table.shown_ids, self.most))

    @on(RunsTable.Pinned)
    def _pin(self, event: RunsTable.Pinned) -> None:
        if not self.pins.toggle(event.run_id):
            self.app.show_message(f"{len(self.pins.slots)} runs are pinned, which is the maximum", wrong=True)
        self._want()

    @on(RunsTable.Opened)
    def _open(self, event: RunsTable.Opened) -> None:
        self.app.push_screen(RunView(event.run_id))

    @on(RunsTable.Moved)
    def _moved(self) -> None:
        if self.app.snapshot.read:
            self._table.mark(self._marks())
            if self._table.run_id in self.app.snapshot.details:  # else it comes with the next snapshot
                self._show_charts(self.app.snapshot)
            self._show_lines(self.app.snapshot, self.size.width - 2)
            self._want()

    @on(Input.Changed, "#filter")
    def _filtered(self, event: Input.Changed) -> None:
        self.query_text = event.value
        try:
            self.run_query, self.query_problem = parsed(event.value), ""
        except UsageError as error:  # perhaps only half typed: what comes before still holds
            self.query_problem = error.message
            with suppress(UsageError):
                self.run_query = parsed(event.value.rpartition(" ")[0])
        self._show_table(self.app.snapshot)

    @on(Input.Submitted, "#filter")
    def _filter_kept(self) -> None:
        self._filter.set_class(bool(self.query_text), "-shown")
        self._table.focus()

    def action_no_filter(self) -> None:
        """Clear the filter."""
        field = self._filter
        field.value = ""
        field.remove_class("-shown")
        self._table.focus()

    def action_pin(self) -> None:
        """Pin or unpin the selected run."""
        self._table.action_pin()

    def action_open(self) -> None:
        """Open the selected run."""
        self._table.action_open()

    def action_filter(self) -> None:
        """Show and focus the filter field."""
        self.minimize()
        field = self._filter
        field.add_class("-shown")
        field.focus()

    def action_task(self) -> None:
        """Show the next task's curves."""
        self._curves.next_task()

    def action_axis(self) -> None:
        """Switch to the next x axis."""
        self._curves.next_axis()

    def action_quantity(self) -> None:
        """Switch the training chart to the next quantity."""
        self._curves.next_quantity()

    def action_smooth(self) -> None:
        """Switch to the next smoothing of the training curves."""
        weight = self._curves.next_smoothing()
        self.app.show_message(
            f"training curves: smoothed with {weight:g}" if weight else "training curves: as measured"
        )

    def action_log_scale(self) -> None:
        """Switch the training charts to a logarithmic y axis, and back."""
        self.app.show_message(f"training charts: {'logarithmic' if self._curves.toggle_log() else 'linear'} y axis")

    def action_standings(self) -> None:
        """Rank the groups of the selected run's workload."""
        line = self.app.snapshot.line(self._table.run_id)
        if line is None:
            self.app.show_message("no run is selected", wrong=True)
            return
        self.app.push_screen(StandingsScreen(line.run.workload))

    def action_fit(self) -> None:
        """Show the whole range in all charts."""
        self._curves.main.action_fit()

    def action_pause(self) -> None:
        """Pause the replay, or go on."""
        if self.app.replayed is None:
            self.app.show_message("only a replay can be paused: peftbench replay RUN", wrong=True)
            return
        self.app.show_message("playing" if self.app.replayed.pause() else "paused")
        self.app.poller.look_now()

    def action_seek(self, share: float) -> None:
        """Move the replay forwards, or backwards, by a share of the run."""
        if self.app.replayed is not None:
            self.app.replayed.seek(share)
            self.app.poller.look_now()

    def action_window(self) -> None:
        """Switch to the next time window of the meter charts."""
        self.window_s = _WINDOWS[(_WINDOWS.index(self.window_s) + 1) % len(_WINDOWS)]
        self.app.show_message(
            "meters: the whole run" if self.window_s is None else f"meters: the last {self.window_s // 60} min"
        )
        self._want()

    def action_card(self) -> None:
        """Show the next GPU's own readings (without a GPU: the machine's); after the last, those of the runs."""
        machine = self.app.snapshot.machine
        here = -1 if self.card is None else self.card
        self.card = here + 1 if here + 1 < max(len(machine.cards), 1) else None
        name = f"GPU{machine.cards[self.card].index}" if self.card is not None and machine.cards else "this machine"
        self.app.show_message(
            "meters: of the runs" if self.card is None else f"meters: {name}, since this dashboard began"
        )
        self.show(self.app.snapshot)

    def action_order(self) -> None:
        """Switch to the next sort order."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self._show_table(self.app.snapshot)

    def action_meters(self) -> None:
        """Focus the meters, in place of the curves if the screen is narrow; back from them to the table."""
        self.minimize()
        there = self._meters.has_focus
        self.set_class(not there, "-meters")
        (self._table if there else self._meters).focus()
        self.call_after_refresh(lambda: self._show_charts(self.app.snapshot))  # when they have got their place

    def action_maximise(self) -> None:
        """Show the focused widget (default: the curves) full screen, and back."""
        if self.maximized is not None:
            self.minimize()
            return
        focused = self.focused
        if not isinstance(focused, RunsTable | CurveChart | Meters):
            focused = self._curves.main if self._curves.display else self._meters
        self.maximize(focused)

    def action_new_run(self) -> None:
        """Open the form for a new run."""
        if self.may_act():
            self.app.push_screen(NewRunScreen(self.app.run_actions), self._started)

    def action_demo(self) -> None:
        """Queue the demo runs, after a question that says what will run and for how long."""
        if not self.may_act():
            return
        runs = demo_runs()
        time_told = time_needed(runs, [line.run for line in self.app.snapshot.lines], platform.node())
        question = f"Train {len(runs)} runs one after another: {', '.join(DEMO)} on built-in sentences; {time_told}?"

        def answered(yes: bool | None) -> None:
            if yes:
                self.app.run_in_thread(self.app.run_actions.queue_demo, "queuing the demo")

        self.app.push_screen(Confirm(question, "Train", dangerous=False), answered)

    def action_compare(self) -> None:
        """Compare the pinned runs; if fewer than two are pinned, add the selected run."""
        chosen = [run_id for run_id in self.app.snapshot.pinned if run_id in self.pins.slots]
        here = self._table.run_id
        if len(chosen) < 2 and here is not None and here not in chosen:
            chosen.append(here)
        if len(chosen) < 2:
            self.app.show_message("compare needs two runs: pin them with the space bar", wrong=True)
            return
        self.app.push_screen(Compare(chosen, self.pins.slots_of(chosen)))

    def _started(self, run_ids: list[str] | None) -> None:
        """Pin the runs that the form has queued, and select the first of them."""
        if run_ids:
            self.pins.add(run_ids[:3])
            self._table.select(run_ids[0])
            self._table.focus()
            self._want()
            self.app.poller.look_now()
