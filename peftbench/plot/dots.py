"""A grid of dots and line drawing on it: clipping, solid and dashed lines."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

DASH = 8  # period in dots: a dash and its gap
_ON = 4
Point = tuple[float, float]  # in dots, from the left and from the top


class Dots:
    """A grid of dots: an integer per column, whose bit y is the dot in row y, counted from the top."""

    __slots__ = ("columns", "height", "width")

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.columns = [0] * width

    def has(self, x: int, y: int) -> bool:
        """Return whether a dot is set."""
        return bool(self.columns[x] >> y & 1)

    def segment(self, start: Point, end: Point, phase: int | None = None) -> int:
        """Draw a straight line, clipped to the grid, and return its length in dots.

        With a phase the line is dashed: the phase is the position within a dash at which it starts.
        """
        seen = clip(start, end, self.width - 1, self.height - 1)
        if seen is None:
            return 0
        (x0, y0), (x1, y1) = seen
        a, b = (round(x0), round(y0)), (round(x1), round(y1))
        if phase is None:
            self._solid(a, b)
        else:
            self._dashed(a, b, phase)
        return max(abs(a[0] - b[0]), abs(a[1] - b[1]))

    def upright(self, column: int, top: float, bottom: float) -> None:
        """Draw a vertical line from top to bottom, clipped to the grid."""
        if bottom >= 0 and top <= self.height - 1:
            first, last = round(max(top, 0)), round(min(bottom, self.height - 1))
            self.columns[column] |= ((1 << last - first + 1) - 1) << first

    def _solid(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        for x, first, last in runs(start, end):
            low = min(first, last)
            self.columns[x] |= ((1 << abs(last - first) + 1) - 1) << low

    def _dashed(self, start: tuple[int, int], end: tuple[int, int], phase: int) -> None:
        down, up = _stripes(self.height)
        for x, first, last in runs(start, end):
            count = abs(last - first) + 1
            stripes = down[phase % DASH] if last >= first else up[(phase + count - 1) % DASH]
            self.columns[x] |= (stripes & ((1 << count) - 1)) << min(first, last)
            phase += count


@cache
def _stripes(height: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the dots of downward and of upward dashed lines, for each starting phase."""
    down = [sum(1 << bit for bit in range(height) if (phase + bit) % DASH < _ON) for phase in range(DASH)]
    up = [sum(1 << bit for bit in range(height) if (phase - bit) % DASH < _ON) for phase in range(DASH)]
    return tuple(down), tuple(up)


def runs(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
    """Yield a line's dots by column: (x, first y, last y), in the line's direction.

    The dots are those nearest to the ideal line along its longer side (Bresenham's algorithm); adjacent dots touch.
    """
    (x0, y0), (x1, y1) = start, end
    wide, high = abs(x1 - x0), abs(y1 - y0)
    right, down = 1 if x1 >= x0 else -1, 1 if y1 >= y0 else -1
    if wide >= high:
        for i in range(wide + 1):
            y = y0 + down * ((2 * i * high + wide) // (2 * wide)) if wide else y0
            yield x0 + right * i, y, y
        return
    begin = 0
    for i in range(wide + 1):
        until = high if i == wide else -(-(2 * i + 1) * high // (2 * wide)) - 1
        yield x0 + right * i, y0 + down * begin, y0 + down * until
        begin = until + 1


def clip(start: Point, end: Point, right: float, bottom: float) -> tuple[Point, Point] | None:
    """Clip a line to 0..right and 0..bottom (Liang-Barsky); None if it is outside."""
    (x0, y0), (x1, y1) = start, end
    if 0 <= x0 <= right and 0 <= x1 <= right and 0 <= y0 <= bottom and 0 <= y1 <= bottom:
        return start, end
    dx, dy = x1 - x0, y1 - y0
    begin, until = 0.0, 1.0
    for direction, room in ((-dx, x0), (dx, right - x0), (-dy, y0), (dy, bottom - y0)):
        if direction == 0:
            if room < 0:
                return None
        elif direction < 0:
            begin = max(begin, room / direction)
        else:
            until = min(until, room / direction)
    if begin > until:
        return None
    first = start if begin == 0 else (x0 + begin * dx, y0 + begin * dy)
    last = end if until == 1 else (x0 + until * dx, y0 + until * dy)
    return _inside(first, right, bottom), _inside(last, right, bottom)


def _inside(point: Point, right: float, bottom: float) -> Point:
    return min(max(point[0], 0.0), right), min(max(point[1], 0.0), bottom)
