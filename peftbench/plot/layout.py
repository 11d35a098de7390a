"""Layout of a chart: labels, axes, plot area, and the mapping from values to dots."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from peftbench.plot.cells import printable, width
from peftbench.plot.decimate import summaries
from peftbench.plot.glyphs import Glyphs
from peftbench.plot.legend import legend_rows
from peftbench.plot.model import Chart, Range, Series
from peftbench.plot.ticks import Tick, log_ticks, ticks

_LOWEST_PLOT = 3  # minimum rows of the plot before axis, legend or title get any
_NARROWEST_PLOT = 8
_LARGEST = 8e307  # the range from -_LARGEST to _LARGEST is still finite
_AIR = 0.05
_FAR = 1e9  # in plot heights; lines from farther away are practically vertical
_ROWS_A_TICK = 3
_WIDE_ENOUGH = 48  # minimum plot width in cells to show labels at the ends of curves
_LONGEST_END = 10


@dataclass(frozen=True, slots=True)
class Frame:
    """The plot area of a chart, its ranges, and its ticks by row and column of the plot.

    `left`: cells for y labels and axis (0 if the chart is too narrow). `right`: cells for the labels at the ends of
    curves. `top`: rows for the title. `axis_rows` (0 or 2) and `legend_rows` are below the plot.
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
        """Return the horizontal position of x, in dots from the left of the plot."""
        return _near((x - self.x.low) / (self.x.high - self.x.low)) * (self.columns * self.dots_wide - 1)

    def down(self, y: float) -> float:
        """Return the vertical position of y, in dots from the top of the plot."""
        return _near((self.y.high - y) / (self.y.high - self.y.low)) * (self.rows * self.dots_high - 1)

    def dot(self, x: float, y: float) -> tuple[int, int]:
        """Return the dot (column, row) of a point within the ranges."""
        return round(self.across(x)), round(self.down(y))

    def cell(self, x: float, y: float) -> tuple[int, int]:
        """Return the cell (column, row of the plot) of a point within the ranges."""
        column, row = self.dot(x, y)
        return column // self.dots_wide, row // self.dots_high


def lay_out(chart: Chart, cells_wide: int, cells_high: int, glyphs: Glyphs) -> Frame:
    """Return the layout of a chart of the given size.

    Raises:
        ValueError: the width or height is below one cell.
    """
    if cells_wide < 1 or cells_high < 1:
        raise ValueError(f"a chart needs at least one cell, not {cells_wide} x {cells_high}")
    title, axis, legend = _rows_of_parts(chart, cells_wide, cells_high, glyphs)
    rows = cells_high - title - axis - legend
    x = chart.x or x_range(chart.series)
    y = chart.y or y_range(chart.series, x)
    y_found = (log_ticks if chart.log_y else ticks)(y, max(2, -(-rows // _ROWS_A_TICK)))
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
    """Return the range of all xs; the range of a single value starts at it."""
    ends = [x for curve in series if len(curve.xs) for x in (curve.xs[0], curve.xs[-1])]
    low, high = (_bounded(min(ends)), _bounded(max(ends))) if ends else (0.0, 1.0)
    return Range(low, high) if low < high else Range(low, low + (abs(low) * 0.1 if abs(low) > 10 else 1.0))


def y_range(series: tuple[Series, ...], x: Range) -> Range:
    """Return the range of the ys within a range of x, with a margin; a single value is centred."""
    values: list[float] = []
    for curve in series:
        begin, end = visible(curve, x)
        if begin < end:
            (all_of_it,) = summaries(curve.ys, (begin, end))
            values += [y for y in (all_of_it.low, all_of_it.high) if y is not None]
    if not values:
        return Range(0.0, 1.0)
    low, high = _bounded(min(values)), _bounded(max(values))
    air = (high - low) * _AIR if low < high else abs(low) * 0.1 or 1.0
    return Range(_bounded(low - air), _bounded(high + air))


def visible(series: Series, x: Range) -> tuple[int, int]:
    """Return the index range [begin, end) of the points within a range of x."""
    return bisect_left(series.xs, x.low), bisect_right(series.xs, x.high)


def _rows_of_parts(chart: Chart, cells_wide: int, height: int, glyphs: Glyphs) -> tuple[int, int, int]:
    """Return the rows of title, x axis (0 or 2) and legend that fit beside the minimum plot height."""
    spare = max(height - _LOWEST_PLOT, 0)
    axis = 2 if spare >= 2 else 0
    spare -= axis
    legend = len(legend_rows(chart.series, cells_wide, min(chart.legend_rows, spare), glyphs))
    title = 1 if chart.title and spare > legend else 0
    return title, axis, legend


def _right(chart: Chart, room: int) -> int:
    """Return the cells to the right of the plot: the longest label at a curve's end plus a space."""
    longest = max((min(width(printable(curve.end)), _LONGEST_END) for curve in chart.series if curve.end), default=0)
    return longest + 1 if longest and room - longest - 1 >= _WIDE_ENOUGH else 0


def _x_ticks(frame: Frame, integers: bool) -> dict[int, Tick]:
    """Return as many x ticks as their labels allow, by column."""
    for most in range(max(frame.columns // 6, 2), 0, -1):
        by_column = {frame.cell(tick.value, frame.y.low)[0]: tick for tick in ticks(frame.x, most, integers)}
        starts = [label_column(frame, column, tick) for column, tick in by_column.items()]
        ends = [start + len(tick.label) for start, tick in zip(starts, by_column.values(), strict=True)]
        if all(end < start for end, start in zip(ends, starts[1:], strict=False)) and max(ends, default=0) <= (
            frame.left + frame.columns
        ):
            return by_column
    return {}


def label_column(frame: Frame, column: int, tick: Tick) -> int:
    """Return the column, from the chart's left edge, at which the label of an x tick starts."""
    middle = frame.left + column - (len(tick.label) - 1) // 2
    return max(0, min(middle, frame.left + frame.columns - len(tick.label)))


def _near(share: float) -> float:
    return share if -_FAR < share < _FAR else math.copysign(_FAR, share)


def _bounded(value: float) -> float:
    return min(max(value, -_LARGEST), _LARGEST)
