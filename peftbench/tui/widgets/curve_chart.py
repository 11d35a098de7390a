"""Learning and training curves of runs over epochs, steps, time or energy, with a reading cursor, zoom and pan."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from peftbench.analysis.trajectory import AVERAGE, AXES, Axis
from peftbench.analysis.within_epochs import QUANTITIES, Quantity
from peftbench.plot import Chart, Frame, Range, lay_out
from peftbench.report.charts.overlay import Curves, Pinned, curves_of, overlay, stops, tasks_of
from peftbench.report.charts.training import TRAINING, WEIGHTS, TrainingCurve, training_chart, training_curves
from peftbench.tui.widgets.chart_view import ChartView

_ZOOM = 0.7
_PAN = 0.25
_NARROWEST = 1e-6  # maximum zoom, as a fraction of the whole range


class CurveChart(ChartView, can_focus=True):
    """Dev solid, train dashed; one colour and marker per run. The legend has the values at the cursor, or the last.

    `shown_task` may be `TRAINING`: then `quantity` by step is drawn, of `training_task` or of all tasks in turn. So it
    is too while no score has a point yet.
    """

    class Looked(Message):
        """The cursor or the visible range was moved by the user."""

        def __init__(self, chart: CurveChart) -> None:
            super().__init__()
            self.chart = chart

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "left",
            "cursor(-1)",
            "Read left",
            show=False,
            id="chart.left",
            tooltip="Read the values at an earlier point",
        ),
        Binding(
            "right", "cursor(1)", "Read right", show=False, id="chart.right", tooltip="Read the values at a later point"
        ),
        Binding(
            "escape", "no_cursor", "No cursor", show=False, id="chart.no_cursor", tooltip="Read the last values again"
        ),
        Binding("plus,equals_sign", "zoom(1)", "Zoom in", show=False, id="chart.in", tooltip="Show a smaller range"),
        Binding("minus", "zoom(-1)", "Zoom out", show=False, id="chart.out", tooltip="Show a larger range"),
        Binding("shift+left,left_square_bracket", "pan(-1)", "Pan left", show=False, id="chart.pan_left"),
        Binding("shift+right,right_square_bracket", "pan(1)", "Pan right", show=False, id="chart.pan_right"),
        Binding("0", "fit", "Fit", show=False, id="chart.fit", tooltip="Show the whole range"),
    ]

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.pinned: tuple[Pinned, ...] = ()
        self.shown_task, self.axis = AVERAGE, AXES[0]
        self.cursor_x: float | None = None
        self.view: Range | None = None
        self.quantity: Quantity = "loss"
        self.training_task = AVERAGE
        self.weight, self.log_y = WEIGHTS[0], False
        self._curves: tuple[Curves, ...] = ()
        self._training: tuple[TrainingCurve, ...] | None = None  # drawn instead of scores
        self._read_for: object = None
        self._known: dict[str, Curves] = {}  # by run id
        self._known_training: dict[str, TrainingCurve] = {}
        self._dragged_from: tuple[int, Range] | None = None

    def show(self, pinned: Sequence[Pinned]) -> None:
        """Set the runs to draw."""
        if tuple(pinned) == self.pinned and self._read_for is not None:
            return
        self.pinned = tuple(pinned)
        if self.shown_task not in (*tasks_of(self.pinned), TRAINING):
            self.shown_task = AVERAGE
        self._read()

    def show_task(self, task: str, quantity: Quantity | None = None) -> None:
        """Show a task's metric, `AVERAGE`, or `TRAINING` with a quantity."""
        if (task, quantity or self.quantity) != (self.shown_task, self.quantity):
            self.shown_task, self.quantity = task, quantity or self.quantity
            self._read()

    def next_task(self) -> str:
        """Show the next task's metric, after the last the training curve, then the mean over tasks; return its name."""
        known = (*tasks_of(self.pinned), TRAINING)
        self.shown_task = known[(known.index(self.shown_task) + 1) % len(known)]
        self._read()
        return self.shown_task

    def next_axis(self) -> Axis:
        """Switch to the next x axis (epochs, steps, time, energy), and reset cursor and zoom."""
        self.axis = AXES[(AXES.index(self.axis) + 1) % len(AXES)]
        self.cursor_x = self.view = None
        self._read()
        return self.axis

    def next_quantity(self) -> Quantity:
        """Switch to the next quantity of the training curve."""
        self.quantity = QUANTITIES[(QUANTITIES.index(self.quantity) + 1) % len(QUANTITIES)]
        self._read()
        return self.quantity

    def smooth(self, weight: float) -> None:
        """Set the smoothing of the training curve."""
        self.weight = weight
        self._read()

    def logarithmic(self, log_y: bool) -> None:
        """Set whether the training curve's y axis is logarithmic."""
        self.log_y = log_y
        self._refit()

    def look_as(self, other: CurveChart) -> None:
        """Take over another chart's axis, cursor and visible range."""
        if other.axis != self.axis:
            self.axis = other.axis
            self.cursor_x, self.view = other.cursor_x, other.view
            self._read()
        elif (other.cursor_x, other.view) != (self.cursor_x, self.view):
            self.cursor_x, self.view = other.cursor_x, other.view
            self._refit()

    def action_cursor(self, by: int) -> None:
        """Move the cursor to the next point of any curve; without a cursor, to the first (leftwards: the last)."""
        points = [x for x in self._stops() if self.view is None or self.view.low <= x <= self.view.high]
        if not points:
            return
        if self.cursor_x is None:
            index = len(points) - 1 if by < 0 else 0
        else:
            here = bisect_left(points, self.cursor_x)
            on_it = here < len(points) and points[here] == self.cursor_x
            index = here + (by if by < 0 or on_it else 0)
        self.cursor_x = points[max(0, min(index, len(points) - 1))]
        self._looked()

    def action_no_cursor(self) -> None:
        """Remove the cursor."""
        self.cursor_x = None
        self._looked()

    def action_zoom(self, by: int) -> None:
        """Zoom in or out about the cursor, or about the middle."""
        self._zoom(by, None)

    def action_pan(self, by: int) -> None:
        """Pan left or right."""
        frame = self._frame()
        if frame is not None and self.view is not None:
            self._look_at(_moved(frame.x, by * _PAN * (frame.x.high - frame.x.low)))

    def action_fit(self) -> None:
        """Show the whole range."""
        self.view = None
        self._looked()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Move the cursor to the mouse; pan while its button is held."""
        frame = self._frame()
        if frame is None:
            return
        column = event.x - frame.left
        if self._dragged_from is not None:
            start, view = self._dragged_from
            self._look_at(_moved(view, (start - column) / max(frame.columns - 1, 1) * (view.high - view.low)))
            return
        x = _x_at(frame, column)
        nearest = min(self._stops(), key=lambda point: abs(point - x), default=None)
        inside = 0 <= column < frame.columns and event.y >= frame.top
        if inside and nearest is not None and frame.x.low <= nearest <= frame.x.high and nearest != self.cursor_x:
            self.cursor_x = nearest
            self._looked()

    def on_leave(self, event: events.Leave) -> None:
        """Remove the cursor when the mouse leaves, unless the chart is focused."""
        if not self.has_focus:
            self.action_no_cursor()

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Start panning if the chart is zoomed in."""
        frame = self._frame()
        if frame is not None and self.view is not None:
            self._dragged_from = (event.x - frame.left, frame.x)
            self.capture_mouse()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """Stop panning."""
        self._dragged_from = None
        self.release_mouse()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Zoom in at the mouse."""
        event.stop()
        self._zoom(1, event.x)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Zoom out at the mouse."""
        event.stop()
        self._zoom(-1, event.x)

    def _zoom(self, by: int, at_cell: int | None) -> None:
        frame = self._frame()
        if frame is None:
            return
        low, high = frame.x.low, frame.x.high
        if at_cell is not None:
            about = min(max(_x_at(frame, at_cell - frame.left), low), high)
        else:
            about = self.cursor_x if self.cursor_x is not None and low <= self.cursor_x <= high else (low + high) / 2
        factor = _ZOOM if by > 0 else 1 / _ZOOM
        new_low, new_high = about - (about - low) * factor, about + (high - about) * factor
        if new_high - new_low > _NARROWEST * (high - low) and new_low < new_high:
            self._look_at(Range(new_low, new_high))

    def _look_at(self, wanted: Range) -> None:
        """Show a range, shifted into the full range; reset the zoom if it is not smaller than that."""
        full = self._chart(None).x or Range(0, 1)
        span = wanted.high - wanted.low
        if span >= full.high - full.low:
            self.view = None
        else:
            low = min(max(wanted.low, full.low), full.high - span)
            self.view = Range(low, low + span)
        self._looked()

    def _stops(self) -> list[float]:
        """Return the x values of all points, ascending: the stops of the cursor."""
        if self._training is None:
            return stops(self._curves)
        return sorted({x for own in self._training for x in own.raw[0]})

    def _read(self) -> None:
        """Compute the curves, reusing those of unchanged runs."""
        wanted = (self.shown_task, self.axis, self.quantity, self.training_task, self.weight)
        if wanted != self._read_for:
            self._read_for, self._known, self._known_training = wanted, {}, {}
        self._curves, self._training = (), None
        if self.shown_task != TRAINING:
            self._curves = self._scores(self.shown_task)
        has_points = any(own.dev[0] or own.train[0] for own in self._curves)
        if self.shown_task == TRAINING or (not has_points and any(pin.points for pin in self.pinned)):
            self._training = self._training_curves()
        self._refit()

    def _scores(self, task: str) -> tuple[Curves, ...]:
        known: dict[str, Curves] = {}
        for pin in self.pinned:
            before = self._known.get(pin.record.run.id)
            known[pin.record.run.id] = before if before and before.of == pin else curves_of([pin], task, self.axis)[0]
        self._known = known
        return tuple(known.values())

    def _training_curves(self) -> tuple[TrainingCurve, ...]:
        known: dict[str, TrainingCurve] = {}
        how = (self.training_task, self.quantity, self.axis, self.weight)
        for pin in self.pinned:
            before = self._known_training.get(pin.record.run.id)
            known[pin.record.run.id] = before if before and before.of == pin else training_curves([pin], *how)[0]
        self._known_training = known
        return tuple(known.values())

    def _refit(self) -> None:
        self.put(self._chart(self.view))

    def _looked(self) -> None:
        self._refit()
        self.post_message(self.Looked(self))

    def _chart(self, view: Range | None) -> Chart:
        legend_rows = 2 if self.size.height >= 12 else 1
        options: dict[str, Any] = {"x": view, "cursor_x": self.cursor_x, "legend_rows": legend_rows}
        if self._training is not None:
            return training_chart(self._training, self.quantity, self.axis, self.glyphs, log_y=self.log_y, **options)
        return overlay(self._curves, self.shown_task, self.axis, self.glyphs, **options)

    def _frame(self) -> Frame | None:
        size = self.size
        drawn = size.width > 0 and size.height > 0 and bool(self._stops())
        return lay_out(self.chart, size.width, size.height, self.glyphs) if drawn else None


def _x_at(frame: Frame, column: int) -> float:
    return frame.x.low + (column + 0.5) / frame.columns * (frame.x.high - frame.x.low)


def _moved(view: Range, by: float) -> Range:
    return Range(view.low + by, view.high + by)
