"""Chart data independent of the renderer: SVG in a report, matplotlib to a file, or the terminal."""

from __future__ import annotations

from dataclasses import dataclass

_ROOM = 0.2  # in units of a score: intervals are shown at least this far beyond the points


@dataclass(frozen=True, slots=True)
class Curve:
    """Points on two axes, joined or not, with intervals if `lows` and `highs` are given.

    `colour` is an index into the palette, shared by related curves. A y that is None is a gap. A curve without a name
    is not in the legend; with `labelled`, its name is drawn beside its last point instead.
    """

    name: str
    xs: tuple[float, ...]
    ys: tuple[float | None, ...]
    colour: int = 0
    dashed: bool = False
    joined: bool = True
    marked: bool = True
    hollow: bool = False
    labelled: bool = False
    lows: tuple[float, ...] = ()
    highs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Bar:
    """A stacked bar, in the order of the chart's `parts`."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """Curves on common axes, or stacked bars. `ticks` are custom labels of x values.

    `empty`: why there is nothing to draw. `notes`: how to read the chart.
    """

    key: str
    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...] = ()
    parts: tuple[str, ...] = ()
    bars: tuple[Bar, ...] = ()
    ticks: tuple[tuple[float, str], ...] = ()
    whole_x: bool = False
    from_zero: bool = False
    notes: tuple[str, ...] = ()
    empty: str | None = None


def nothing(key: str, title: str, reason: str) -> Picture:
    """Return an empty chart with the reason."""
    return Picture(key, title, "", "", empty=reason)


def bounds(picture: Picture) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the ranges of x and y with a margin; wide intervals are clipped."""
    xs = [*(x for curve in picture.curves for x in curve.xs), *(value for value, _ in picture.ticks)]
    ys = [y for curve in picture.curves for y in curve.ys if y is not None]
    return _roomy(xs, 0.03, False), _roomy(_with_intervals(picture, ys), 0.06, picture.from_zero)


def _with_intervals(picture: Picture, ys: list[float]) -> list[float]:
    """Return the y values with interval ends, clipped so that wide intervals do not flatten the curves."""
    ends = [end for curve in picture.curves for end in (*curve.lows, *curve.highs)]
    if not ends or not ys:
        return ys
    room = max(2 * (max(ys) - min(ys)), _ROOM)
    return [*ys, *(min(max(end, min(ys) - room), max(ys) + room) for end in ends)]


def _roomy(values: list[float], room: float, from_zero: bool) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if from_zero:
        return 0.0, high * (1 + room) if high > 0 else 1.0
    if low == high:
        return low - 0.5, high + 0.5
    return low - room * (high - low), high + room * (high - low)
