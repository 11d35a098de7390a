"""Draw a series on a grid of dots, and place its markers."""

from __future__ import annotations

from bisect import bisect_left

from peftbench.plot.decimate import known, summaries
from peftbench.plot.dots import DASH, Dots, Point
from peftbench.plot.layout import Frame, visible
from peftbench.plot.model import Series

_DENSE = 2  # points per column of dots above which columns are summarised
_APART = 4  # minimum distance in cells between two markers of a series


class _Pen:
    """Draws connected lines and keeps the phase of the dash pattern."""

    def __init__(self, dots: Dots, dashed: bool) -> None:
        self.dots = dots
        self._phase = 0 if dashed else None
        self._at: Point | None = None

    def lift(self) -> None:
        """Start a new line at the next point."""
        self._at = None

    def to(self, point: Point) -> None:
        """Draw to a point, or start a line there. Points far apart are always visible, never in the gap of a dash."""
        start = point if self._at is None else self._at
        if self._phase is None:
            self.dots.segment(start, point)
        else:
            if self._at is None or abs(point[0] - start[0]) + abs(point[1] - start[1]) >= 2 * DASH:
                self.dots.segment(point, point)
                self._phase = 0
            self._phase += self.dots.segment(start, point, self._phase)
        self._at = point

    def stroke(self, column: int, first: float, top: float, bottom: float, last: float) -> None:
        """Draw to a column's first point, then the column from top to bottom, and end at the last point."""
        if self._phase is not None:
            for y in (first, top, bottom, last):
                self.to((column, y))
            return
        if self._at is not None and not self._touches(column, top, bottom):
            self.to((column, first))
        self.dots.upright(column, top, bottom)
        self._at = (column, last)

    def _touches(self, column: int, top: float, bottom: float) -> bool:
        """Return whether the column's dots are adjacent to the current position."""
        assert self._at is not None
        return column - self._at[0] <= 1 and top - 1 <= self._at[1] <= bottom + 1


def trace(series: Series, frame: Frame) -> Dots:
    """Return the dots of a series. A solid series has a dot for every point within the ranges.

    If a series has more points than columns, the minimum and maximum of each column are joined.
    """
    dots = Dots(frame.columns * frame.dots_wide, frame.rows * frame.dots_high)
    begin, end = visible(series, frame.x)
    pen = _Pen(dots, series.dashed)
    if begin > 0:
        _draw_to(pen, series, frame, begin - 1)
    if end - begin > _DENSE * dots.width:
        _columns(pen, series, frame, begin, end)
    else:
        for index in range(begin, end):
            _draw_to(pen, series, frame, index)
    if end < len(series.xs):
        _draw_to(pen, series, frame, end)
    return dots


def _draw_to(pen: _Pen, series: Series, frame: Frame, index: int) -> None:
    y = known(series.ys[index])
    if y is None:
        pen.lift()
    else:
        pen.to((frame.across(series.xs[index]), frame.down(y)))


def _columns(pen: _Pen, series: Series, frame: Frame, begin: int, end: int) -> None:
    bounds, columns = _bounds(series, frame, begin, end)
    for column, summary in zip(columns, summaries(series.ys, bounds), strict=True):
        if summary.first is None:
            pen.lift()
        if summary.low is not None and summary.high is not None:
            first, last = (summary.low if y is None else y for y in (summary.first, summary.last))
            pen.stroke(column, *map(frame.down, (first, summary.high, summary.low, last)))
        if summary.last is None:
            pen.lift()


def _bounds(series: Series, frame: Frame, begin: int, end: int) -> tuple[list[int], list[int]]:
    """Return the start index of each non-empty column's points (and the end index), and those columns."""
    low, span, right = frame.x.low, frame.x.high - frame.x.low, frame.columns * frame.dots_wide - 1

    def column(x: float) -> int:
        return round((x - low) / span * right)  # Frame.across inlined: this is the hot path

    bounds, columns = [begin], [column(series.xs[begin])]
    while True:
        index = bisect_left(series.xs, columns[-1] + 1, bounds[-1], end, key=column)
        bounds.append(index)
        if index == end:
            return bounds, columns
        columns.append(column(series.xs[index]))


def marked(series: Series, frame: Frame) -> list[tuple[int, int]]:
    """Return the cells of a series' markers: on its points, at least `_APART` cells apart."""
    begin, end = visible(series, frame.x)
    cells: list[tuple[int, int]] = []

    def column(x: float) -> int:
        return round(frame.across(x)) // frame.dots_wide

    while begin < end:
        x, y = series.xs[begin], known(series.ys[begin])
        inside = y is not None and frame.y.low <= y <= frame.y.high
        if inside and y is not None:
            cells.append(frame.cell(x, y))
        begin = bisect_left(series.xs, column(x) + (_APART if inside else 1), begin + 1, end, key=column)
    return cells
