"""A series put on a grid of dots, and the cells of its markers."""

from __future__ import annotations

from bisect import bisect_left

from peftbench.plot.decimate import known, summaries
from peftbench.plot.dots import DASH, Dots, Point
from peftbench.plot.layout import Frame, visible
from peftbench.plot.model import Series

_DENSE = 2  # points a column of dots from which on they are summed up
_APART = 4  # cells between two markers of a series


class _Pen:
    """Draws one line after the other, and knows how far into a dash it is."""

    def __init__(self, dots: Dots, dashed: bool) -> None:
        self.dots = dots
        self._phase = 0 if dashed else None
        self._at: Point | None = None

    def lift(self) -> None:
        """Begin a new line with the next point."""
        self._at = None

    def to(self, point: Point) -> None:
        """Go on to a point; where the line begins there, set its dot. Points far apart are never in a gap."""
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
        """Go on to the first of a column's points, set all dots from the top one to the bottom one, end at the last."""
        if self._phase is not None:
            for y in (first, top, bottom, last):
                self.to((column, y))
            return
        if self._at is not None and not self._touches(column, top, bottom):
            self.to((column, first))
        self.dots.upright(column, top, bottom)
        self._at = (column, last)

    def _touches(self, column: int, top: float, bottom: float) -> bool:
        """Whether the column's dots are next to where the line is."""
        assert self._at is not None
        return column - self._at[0] <= 1 and top - 1 <= self._at[1] <= bottom + 1


def trace(series: Series, frame: Frame) -> Dots:
    """Return the dots of a series. Those of a solid one hold every point's own within the ranges.

    Of a series with more points than columns the lowest and the highest of each column are joined.
    """
    dots = Dots(frame.columns * frame.dots_wide, frame.rows * frame.dots_high)
    begin, end = visible(series, frame.x)
    pen = _Pen(dots, series.dashed)
    if begin > 0:
        _go(pen, series, frame, begin - 1)
    if end - begin > _DENSE * dots.width:
        _columns(pen, series, frame, begin, end)
    else:
        for place in range(begin, end):
            _go(pen, series, frame, place)
    if end < len(series.xs):
        _go(pen, series, frame, end)
    return dots


def _go(pen: _Pen, series: Series, frame: Frame, place: int) -> None:
    y = known(series.ys[place])
    if y is None:
        pen.lift()
    else:
        pen.to((frame.across(series.xs[place]), frame.down(y)))


def _columns(pen: _Pen, series: Series, frame: Frame, begin: int, end: int) -> None:
    bounds, columns = _bounds(series, frame, begin, end)
    for column, found in zip(columns, summaries(series.ys, bounds), strict=True):
        if found.first is None:
            pen.lift()
        if found.low is not None and found.high is not None:
            first, last = (found.low if y is None else y for y in (found.first, found.last))
            pen.stroke(column, *map(frame.down, (first, found.high, found.low, last)))
        if found.last is None:
            pen.lift()


def _bounds(series: Series, frame: Frame, begin: int, end: int) -> tuple[list[int], list[int]]:
    """Return where each column's points begin (and where the last one's end), and the columns that have any."""
    low, span, right = frame.x.low, frame.x.high - frame.x.low, frame.columns * frame.dots_wide - 1

    def column(x: float) -> int:
        return round((x - low) / span * right)  # Frame.across, without its calls: this is where the time goes

    bounds, columns = [begin], [column(series.xs[begin])]
    while True:
        place = bisect_left(series.xs, columns[-1] + 1, bounds[-1], end, key=column)
        bounds.append(place)
        if place == end:
            return bounds, columns
        columns.append(column(series.xs[place]))


def marked(series: Series, frame: Frame) -> list[tuple[int, int]]:
    """Return the cells in which a series' markers stand: on its points, some cells apart."""
    begin, end = visible(series, frame.x)
    found: list[tuple[int, int]] = []

    def column(x: float) -> int:
        return round(frame.across(x)) // frame.dots_wide

    while begin < end:
        x, y = series.xs[begin], known(series.ys[begin])
        inside = y is not None and frame.y.low <= y <= frame.y.high
        if inside and y is not None:
            found.append(frame.cell(x, y))
        begin = bisect_left(series.xs, column(x) + (_APART if inside else 1), begin + 1, end, key=column)
    return found
