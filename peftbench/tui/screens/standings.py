"""Standings of a workload: its groups ranked by score, with intervals, ties and costs; growing as runs finish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from peftbench.analysis.standings import Standings
from peftbench.errors import PeftbenchError
from peftbench.plot.cells import fit, printable
from peftbench.report import standings as report
from peftbench.text import clean
from peftbench.tui.screens.compare import Compare
from peftbench.tui.screens.run_screen import RunScreen
from peftbench.tui.state import DashboardState
from peftbench.tui.widgets.key_bar import KeyBar
from peftbench.tui.widgets.partial import Lines

_FIXED = 54  # cells of all columns but the group's name and the bar
_COSTS = (("vram", "VRAM"), ("rss", "RSS"), ("time", "time, s"), ("energy", "Wh"))


class StandingsScreen(RunScreen):
    """The groups of one workload, the best first. Enter compares the selected group with the first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,S", "dismiss", "Back"),
        Binding("enter", "compare", "Compare", tooltip="Compare the selected group with the first one"),
        Binding("t", "metric", "Metric", tooltip="Rank by the next task, or by the mean over tasks"),
        Binding("question_mark", "app.help", "Help"),
        Binding("q", "app.quit", "Quit"),
    ]

    def __init__(self, workload: str) -> None:
        super().__init__()
        self.workload = workload
        self.metric = "dev_avg"
        self._of: Standings | None = None
        self._finished: object = None  # the finished runs that were ranked
        self._tasks: tuple[str, ...] = ()

    def compose(self) -> ComposeResult:
        """Yield the widgets."""
        self._title, self._notes = Lines(id="title"), Lines(id="notes")
        self._table: DataTable[Text] = DataTable(id="standings", cursor_type="row", classes="part")
        yield self._title
        yield self._table
        yield self._notes
        yield KeyBar()

    def on_mount(self) -> None:
        """Rank for the first time."""
        self._table.focus()
        self._title.put(Text("ranking …"))
        self.show(self.app.snapshot)

    @property
    def run_at_hand(self) -> str | None:
        """The id of the selected group's first run."""
        row = self._row()
        return None if row is None or self._of is None else self._of.rows[row].group.first.id

    def show(self, snapshot: DashboardState) -> None:
        """Rank again if other runs have finished."""
        finished = tuple(
            (line.run.id, line.run.best_epoch)
            for line in snapshot.lines
            if line.run.workload == self.workload and line.state == "finished"
        )
        if snapshot.read and (finished, self.metric) != self._finished:
            self._finished = (finished, self.metric)
            metric = self.metric
            self.run_worker(lambda: self._rank(metric), thread=True, exclusive=True, group="standings")

    def on_resize(self) -> None:
        """Lay the table out again."""
        if self._of is not None:
            self._fill(self._of)

    def action_metric(self) -> None:
        """Rank by the next task, or by the mean over tasks."""
        known = ("dev_avg", *self._tasks) if len(self._tasks) > 1 else ("dev_avg",)
        self.metric = known[(known.index(self.metric) + 1) % len(known)] if self.metric in known else "dev_avg"
        self.show(self.app.snapshot)

    @on(DataTable.RowSelected)
    def action_compare(self) -> None:
        """Compare the selected group with the first one; of the first, with the second."""
        row = self._row()
        if self._of is None or row is None or len(self._of.rows) < 2:
            self.app.show_message("compare needs two groups with finished runs", wrong=True)
            return
        pair = (self._of.rows[0].group, self._of.rows[row or 1].group)
        self.app.push_screen(Compare([group.ids for group in pair], {}))

    def _row(self) -> int | None:
        rows = 0 if self._of is None else len(self._of.rows)
        return self._table.cursor_row if 0 <= self._table.cursor_row < rows else None

    def _rank(self, metric: str) -> None:
        from peftbench.analysis.groups import group_of
        from peftbench.analysis.selection import finished_groups
        from peftbench.analysis.standings import standings
        from peftbench.store.reader import Reader
        from peftbench.store.rows import RunFilter

        try:
            with Reader(self.app.database) as reader:
                runs = reader.runs(RunFilter(("finished",), workload=self.workload))
                groups = [
                    group_of(choice.label, [reader.record(run, predictions=True) for run in choice.runs])
                    for choice in finished_groups(runs)
                ]
            of = standings(groups, metric)
        except PeftbenchError as error:
            self.app.call_from_thread(self._say, error.message)
            return
        tasks = groups[0].records[0].tasks if groups else ()
        self.app.call_from_thread(self._ranked, of, tasks)

    def _say(self, text: str) -> None:
        if self.is_mounted:
            self._title.put(Text(clean(text)))

    def _ranked(self, of: Standings, tasks: Sequence[str]) -> None:
        if not self.is_mounted:
            return
        self._tasks = tuple(tasks)
        if not of.rows:
            self._of = None
            reasons = "; ".join(f"{clean(label)}: {clean(reason)}" for label, reason in of.left_out)
            self._title.put(
                Text(f"no group on {clean(self.workload)} has a place yet{f': {reasons}' if reasons else ''}")
            )
            self._table.clear(columns=True)
            return
        page = report.page(of, self.app.glyphs)
        self._title.put(Text(f"{page.title}\n{page.verdicts[0].text}", style="bold"))
        self._notes.put(Text("\n".join(page.notes), style="dim"))
        self._fill(of)

    def _fill(self, of: Standings) -> None:
        """Write the table for the screen's width; the cursor stays on its group."""
        at = self._row()
        selected = None if at is None or self._of is None else self._of.rows[at].group.label
        self._of, glyphs, table = of, self.app.glyphs, self._table
        costs = [(axis, name) for axis, name in _COSTS if any(row.costs[axis] is not None for row in of.rows)]
        room = max(self.size.width - _FIXED - 10 * len(costs), 24)
        names = min(max(len(row.group.label) for row in of.rows), room // 2)
        cells = max(room - names, 12)
        low, high = report.scale(of.rows)
        brackets, ranks = report.bracket_rows(of, glyphs), of.ranks()
        table.clear(columns=True)
        heads = (
            "rank",
            "group",
            "runs",
            "score [95 % interval]",
            f"{low:.3f} to {high:.3f}",
            "front",
            *dict(costs).values(),
        )
        for head in heads:
            table.add_column(Text(head))
        for index, row in enumerate(of.rows):
            table.add_row(
                Text(f"{ranks[index]:>2} {brackets[index]}"),
                Text(fit(printable(clean(row.group.label)), names)),
                Text(str(len(row.group.records)), justify="right"),
                Text(report.score_of(row), justify="right"),
                Text(report.bar(row, low, high, cells, glyphs), style="bold" if ranks[index] == 1 else ""),
                Text("yes" if row.on_front else "", style="bold"),
                *(Text(report.cost_text(row.costs[axis], axis), justify="right") for axis, _ in costs),
            )
        labels = [row.group.label for row in of.rows]
        if selected in labels:
            table.cursor_coordinate = Coordinate(labels.index(selected), 0)
