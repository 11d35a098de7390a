"""Charts side by side: one for each task and one for training, as many as the screen has room for, read together."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Grid

from peftbench.analysis.trajectory import AVERAGE, Axis
from peftbench.analysis.within_epochs import QUANTITIES, Quantity
from peftbench.plot import Glyphs
from peftbench.report.charts.overlay import Pinned, tasks_of
from peftbench.report.charts.training import TRAINING, WEIGHTS
from peftbench.tui.widgets.curve_chart import CurveChart

MOST = 6
_COLUMNS = {1: 1, 2: 2, 4: 2, 6: 3}

Pane = tuple[str, Quantity]  # a task, `AVERAGE` or `TRAINING`; the quantity, of training


class ChartGrid(Grid):
    """Small multiples with a common x axis, cursor and range. With room for one, `next_task` goes through them."""

    def __init__(self, glyphs: Glyphs, *, id: str | None = None) -> None:
        super().__init__(id=id)
        names = ("curves", *(f"curves{number}" for number in range(2, MOST + 1)))
        self._charts = [CurveChart(glyphs, id=name, classes="part") for name in names]
        self._slots = 1
        self._first = 0
        self._pinned: tuple[Pinned, ...] = ()

    def compose(self) -> ComposeResult:
        """Yield the charts."""
        yield from self._charts

    def on_mount(self) -> None:
        """Show the first chart alone."""
        self._arrange()

    @property
    def main(self) -> CurveChart:
        """The first chart."""
        return self._charts[0]

    @property
    def charts(self) -> list[CurveChart]:
        """The charts that have a place."""
        return [chart for chart in self._charts if chart.display]

    def fit(self, slots: int) -> None:
        """Set how many charts there is room for: 1, 2, 4 or 6."""
        if slots != self._slots:
            self._slots, self._first = slots, 0
            self._arrange()

    def show(self, pinned: Sequence[Pinned]) -> None:
        """Set the runs to draw."""
        before, self._pinned = panes(self._pinned), tuple(pinned)
        if panes(self._pinned) != before:
            self._arrange()
        for chart in self.charts:
            chart.show(pinned)

    def next_task(self) -> None:
        """Show the next task, or with room for several charts, the next ones of those that have no place."""
        if self._slots == 1:
            self.main.next_task()
            return
        following = self._first + self._slots
        self._first = following if following < len(panes(self._pinned)) else 0
        self._arrange()

    def next_axis(self) -> Axis:
        """Switch all charts to the next x axis."""
        axis = self.main.next_axis()
        self._together(self.main)
        return axis

    def next_quantity(self) -> Quantity:
        """Switch the training chart to the next quantity; if none is shown, show it in place of the first chart."""
        chart = next((chart for chart in self.charts if chart.shown_task == TRAINING), None)
        if chart is None:
            self.main.show_task(TRAINING)
            return self.main.quantity
        return chart.next_quantity()

    def next_smoothing(self) -> float:
        """Switch to the next smoothing of the training curves, and return its weight."""
        weight = WEIGHTS[(WEIGHTS.index(self.main.weight) + 1) % len(WEIGHTS)]
        for chart in self._charts:
            chart.smooth(weight)
        return weight

    def toggle_log(self) -> bool:
        """Switch the training charts between a linear and a logarithmic y axis; return whether it is logarithmic."""
        log_y = not self.main.log_y
        for chart in self._charts:
            chart.logarithmic(log_y)
        return log_y

    @on(CurveChart.Looked)
    def _looked(self, event: CurveChart.Looked) -> None:
        event.stop()
        self._together(event.chart)

    def _together(self, chart: CurveChart) -> None:
        for other in self.charts:
            if other is not chart:
                other.look_as(chart)

    def _arrange(self) -> None:
        """Give each chart its pane, and those with a pane their place."""
        known = panes(self._pinned)
        if self._slots == 1:
            shown = 1
        else:
            wanted = known[self._first : self._first + self._slots]
            shown = len(wanted)
            for chart, (task, quantity) in zip(self._charts, wanted, strict=False):
                chart.show_task(task, quantity)
        for index, chart in enumerate(self._charts):
            chart.display = index < shown
            if chart.display:
                chart.show(self._pinned)
                chart.look_as(self.main)
        self.styles.grid_size_columns = next(columns for room, columns in _COLUMNS.items() if room >= shown)


def panes(pinned: Sequence[Pinned]) -> tuple[Pane, ...]:
    """Return what there is to show: each task's scores, the training loss, the mean over tasks, other quantities."""
    tasks = tasks_of(pinned)
    scores: list[Pane] = [(task, "loss") for task in (tasks[1:] if len(tasks) > 2 else tasks[:1])]
    mean: list[Pane] = [(AVERAGE, "loss")] if len(tasks) > 2 else []
    training: list[Pane] = [(TRAINING, quantity) for quantity in QUANTITIES]
    return tuple([*scores, training[0], *mean, *training[1:]][: max(MOST, len(scores) + 2)])


def slots_of(width: int, height: int) -> int:
    """Return how many charts a screen of this size has room for."""
    if width < 100 or height < 32:
        return 1
    return 4 if width < 160 or height < 48 else 6
