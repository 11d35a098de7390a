"""Learning curves of runs over epochs, steps, time or energy, with a reading cursor, zoom and pan."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType

from peftbench.analysis.trajectory import AVERAGE, AXES, Axis
from peftbench.plot import Chart, Frame, Range, lay_out
from peftbench.report.charts.overlay import Curves, Pinned, curves_of, overlay, stops, tasks_of
from peftbench.tui.widgets.chart_view import ChartView

_ZOOM = 0.7
_PAN = 0.25
_NARROWEST = 1e-6  # maximum zoom, as a fraction of the whole range


class CurveChart(ChartView, can_focus=True):
    """Dev solid, train dashed; one colour and marker per run. The legend has the values at the cursor, or the last."""

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
        self._curves: tuple[Curves, ...] = ()
        self._read_for: tuple[str, Axis] | None = None
        self._known: dict[str, Curves] = {}  # by run id
        self._dragged_from: tuple[int, Range] | None = None

    def show(self, pinned: Sequence[Pinned]) -> None:
        """Set the runs to draw."""
        if tuple(pinned) == self.pinned and self._curves:
            return
        self.pinned = tuple(pinned)
        if self.shown_task not in tasks_of(self.pinned):
            self.shown_task = AVERAGE
        self._read()

    def next_task(self) -> str:
        """Show the next task's metric (after the last, the mean over tasks) and return its name."""
        known = tasks_of(self.pinned)
        self.shown_task = known[(known.index(self.shown_task) + 1) % len(known)]
        self._read()
        return self.shown_task

    def next_axis(self) -> Axis:
        """Switch to the next x axis (epochs, steps, time, energy), and reset cursor and zoom."""
        self.axis = AXES[(AXES.index(self.axis) + 1) % len(AXES)]
        self.cursor_x = self.view = None
        self._read()
        return self.axis

    def action_cursor(self, by: int) -> None:
        """Move the cursor to the next point of any curve; without a cursor, to the first (leftwards: the last)."""
        points = [x for x in stops(self._curves) if self.view is None or self.view.low <= x <= self.view.high]
        if not points:
            return
        if self.cursor_x is None:
            index = len(points) - 1 if by < 0 else 0
        else:
            here = bisect_left(points, self.cursor_x)
            on_it = here < len(points) and points[here] == self.cursor_x
            index = here + (by if by < 0 or on_it else 0)
        self.cursor_x = points[max(0, min(index, len(points) - 1))]
        self._refit()

    def action_no_cursor(self) -> None:
        """Remove the cursor."""
        self.cursor_x = None
        self._refit()

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
        self._refit()

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
        nearest = min(stops(self._curves), key=lambda point: abs(point - x), default=None)
        inside = 0 <= column < frame.columns and event.y >= frame.top
        if inside and nearest is not None and frame.x.low <= nearest <= frame.x.high and nearest != self.cursor_x:
            self.cursor_x = nearest
            self._refit()

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
        self._refit()

    def _read(self) -> None:
        """Compute the curves, reusing those of unchanged runs."""
        wanted = (self.shown_task, self.axis)
        if wanted != self._read_for:
            self._read_for, self._known = wanted, {}
        known: dict[str, Curves] = {}
        for pinned in self.pinned:
            before = self._known.get(pinned.record.run.id)
            known[pinned.record.run.id] = before if before and before.of == pinned else curves_of([pinned], *wanted)[0]
        self._known = known
        self._curves = tuple(known.values())
        self._refit()

    def _refit(self) -> None:
        self.put(self._chart(self.view))

    def _chart(self, view: Range | None) -> Chart:
        legend_rows = 2 if self.size.height >= 12 else 1
        return overlay(
            self._curves,
            self.shown_task,
            self.axis,
            self.glyphs,
            x=view,
            cursor_x=self.cursor_x,
            legend_rows=legend_rows,
        )

    def _frame(self) -> Frame | None:
        size = self.size
        drawn = size.width > 0 and size.height > 0 and any(curves.dev[0] for curves in self._curves)
        return lay_out(self.chart, size.width, size.height, self.glyphs) if drawn else None


def _x_at(frame: Frame, column: int) -> float:
    return frame.x.low + (column + 0.5) / frame.columns * (frame.x.high - frame.x.low)


def _moved(view: Range, by: float) -> Range:
    return Range(view.low + by, view.high + by)
