"""Where the parts of a chart go: labels, axes, the plot's own cells; and from values to dots."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from peftbench.plot.cells import printable, width
from peftbench.plot.decimate import known, summaries
from peftbench.plot.glyphs import Glyphs
from peftbench.plot.legend import legend_rows
from peftbench.plot.model import Chart, Range, Series
from peftbench.plot.ticks import Tick, ticks

_LOWEST_PLOT = 3  # rows that the plot has before an axis, a legend or a title gets one
_NARROWEST_PLOT = 8
_LARGEST = 8e307  # a range from minus this to this is still a finite one
_AIR = 0.05
_FAR = 1e9  # heights of the plot; from farther away a line is as good as straight up
_ROWS_A_TICK = 3
_WIDE_ENOUGH = 48  # cells of a plot that still has so many beside what stands at the ends of curves
_LONGEST_END = 10


@dataclass(frozen=True, slots=True)
class Frame:
    """The plot's cells within a chart, its ranges, and its ticks by row and by column of the plot.

    `left` cells hold the labels and the axis of y (none where the chart is too narrow), `right` ones what stands at the
    ends of curves, `top` rows the title; `axis_rows` (0 or 2) and `legend_rows` lie below the plot.
    """

    left: int
    top: int
    columns: int
    rows: int
    axis_rows: int
    legend_rows: int
    right: int
    dots_wide: int
    dots_high: int
    x: Range
    y: Range
    y_ticks: dict[int, Tick]
    x_ticks: dict[int, Tick]

    def across(self, x: float) -> float:
        """Return where an x lies, in dots from the left of the plot."""
        return _near((x - self.x.low) / (self.x.high - self.x.low)) * (self.columns * self.dots_wide - 1)

    def down(self, y: float) -> float:
        """Return where a y lies, in dots from the top of the plot."""
        return _near((self.y.high - y) / (self.y.high - self.y.low)) * (self.rows * self.dots_high - 1)

    def dot(self, x: float, y: float) -> tuple[int, int]:
        """Return the dot of a point within the ranges."""
        return round(self.across(x)), round(self.down(y))

    def cell(self, x: float, y: float) -> tuple[int, int]:
        """Return the cell (column, row of the plot) of a point within the ranges."""
        column, row = self.dot(x, y)
        return column // self.dots_wide, row // self.dots_high


def lay_out(chart: Chart, cells_wide: int, cells_high: int, glyphs: Glyphs) -> Frame:
    """Return the frame of a chart of so many cells.

    Raises:
        ValueError: there is not one cell to draw in.
    """
    if cells_wide < 1 or cells_high < 1:
        raise ValueError(f"a chart needs a cell at least, not {cells_wide} x {cells_high}")
    title, axis, legend = _rows_of_parts(chart, cells_wide, cells_high, glyphs)
    rows = cells_high - title - axis - legend
    x = chart.x or x_range(chart.series)
    y = chart.y or y_range(chart.series, x)
    y_found = ticks(y, max(2, -(-rows // _ROWS_A_TICK)))
    left = max((len(tick.label) for tick in y_found), default=0) + 2
    if cells_wide - left < _NARROWEST_PLOT:
        left, y_found = 0, ()
    right = _right(chart, cells_wide - left)
    columns = cells_wide - left - right
    frame = Frame(left, title, columns, rows, axis, legend, right, glyphs.dots_wide, glyphs.dots_high, x, y, {}, {})
    for tick in y_found:
        frame.y_ticks.setdefault(frame.cell(x.low, tick.value)[1], tick)
    frame.x_ticks.update(_x_ticks(frame, chart.whole_x))
    return frame


def x_range(series: tuple[Series, ...]) -> Range:
    """Return the range of all xs; that of one value begins with it."""
    ends = [x for one in series if len(one.xs) for x in (one.xs[0], one.xs[-1])]
    low, high = (_bounded(min(ends)), _bounded(max(ends))) if ends else (0.0, 1.0)
    return Range(low, high) if low < high else Range(low, low + (abs(low) * 0.1 if abs(low) > 10 else 1.0))


def y_range(series: tuple[Series, ...], x: Range) -> Range:
    """Return the range of the ys within a range of x, with a little air; that of one value has it in the middle."""
    found: list[float] = []
    for one in series:
        begin, end = visible(one, x)
        if begin < end:
            (all_of_it,) = summaries(one.ys, (begin, end))
            found += [y for y in (all_of_it.low, all_of_it.high) if y is not None]
    if not found:
        return Range(0.0, 1.0)
    low, high = _bounded(min(found)), _bounded(max(found))
    air = (high - low) * _AIR if low < high else abs(low) * 0.1 or 1.0
    return Range(_bounded(low - air), _bounded(high + air))


def visible(series: Series, x: Range) -> tuple[int, int]:
    """Return the places of the points within a range of x: from the first to behind the last."""
    return bisect_left(series.xs, x.low), bisect_right(series.xs, x.high)


def _rows_of_parts(chart: Chart, cells_wide: int, height: int, glyphs: Glyphs) -> tuple[int, int, int]:
    """Return the rows of title, x axis (0 or 2) and legend: each as far as the plot keeps its own."""
    spare = max(height - _LOWEST_PLOT, 0)
    axis = 2 if spare >= 2 else 0
    spare -= axis
    legend = len(legend_rows(chart.series, cells_wide, min(chart.legend_rows, spare), glyphs))
    title = 1 if chart.title and spare > legend else 0
    return title, axis, legend


def _right(chart: Chart, room: int) -> int:
    """Return the cells to the right of the plot: for the longest text at an end of a curve, and a blank before it."""
    longest = max((min(width(printable(one.end)), _LONGEST_END) for one in chart.series if one.end), default=0)
    return longest + 1 if longest and room - longest - 1 >= _WIDE_ENOUGH else 0


def _x_ticks(frame: Frame, whole: bool) -> dict[int, Tick]:
    """Return as many ticks as have room for their labels, by column."""
    for most in range(max(frame.columns // 6, 2), 0, -1):
        found = {frame.cell(tick.value, frame.y.low)[0]: tick for tick in ticks(frame.x, most, whole)}
        places = [label_place(frame, column, tick) for column, tick in found.items()]
        ends = [place + len(tick.label) for place, tick in zip(places, found.values(), strict=True)]
        if all(end < place for end, place in zip(ends, places[1:], strict=False)) and max(ends, default=0) <= (
            frame.left + frame.columns
        ):
            return found
    return {}


def label_place(frame: Frame, column: int, tick: Tick) -> int:
    """Return the cell, from the chart's left edge, at which the label of an x tick begins."""
    middle = frame.left + column - (len(tick.label) - 1) // 2
    return max(0, min(middle, frame.left + frame.columns - len(tick.label)))


def end_places(chart: Chart, frame: Frame) -> dict[int, Series]:
    """Return which series' end stands in which row: that of its last visible point, or the nearest that is free."""
    wanted: list[tuple[int, Series]] = []
    for one in chart.series:
        begin, end = visible(one, frame.x)
        last = next((place for place in range(end - 1, begin - 1, -1) if known(one.ys[place]) is not None), None)
        if one.end and last is not None and frame.y.low <= (one.ys[last] or 0.0) <= frame.y.high:
            wanted.append((frame.cell(one.xs[last], one.ys[last] or 0.0)[1], one))
    found: dict[int, Series] = {}
    for row, one in sorted(wanted, key=lambda each: each[0]):
        free = min(
            (r for r in range(frame.rows) if r not in found), key=lambda r: (abs(r - row), r < row), default=None
        )
        if free is not None:
            found[free] = one
    return found


def _near(share: float) -> float:
    return share if -_FAR < share < _FAR else math.copysign(_FAR, share)


def _bounded(value: float) -> float:
    return min(max(value, -_LARGEST), _LARGEST)
