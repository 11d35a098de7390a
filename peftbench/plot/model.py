"""Input of charts (series, ranges, chart) and output (segments, rows)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from operator import le
from typing import NamedTuple

LONG = 20_000  # number of points from which numpy is used, despite its import time

# Styles of chart elements; the style of a series is its colour.
AXIS, LABEL, TITLE, CURSOR, BLANK = "chart.axis", "chart.label", "chart.title", "chart.cursor", ""


class Segment(NamedTuple):
    """A part of a row in one style: a series colour, or a style of a chart element."""

    text: str
    style: str


Row = tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A closed interval on an axis.

    Raises:
        ValueError: an end is not finite, or `low` is not below `high`.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (self.low < self.high and math.isfinite(self.high - self.low)):
            raise ValueError(f"a range needs finite ends with low < high, not {self.low} and {self.high}")


@dataclass(frozen=True, slots=True)
class Series:
    """A curve. A y that is None, NaN or infinite is a gap, across which no line is drawn.

    `marker` is an index into the marker set, drawn on points with a minimum distance; related series, one of them
    dashed, share it. `note` follows the name in the legend; a series without a name is not in the legend. `end` is a
    label beside the last visible point, shown if the chart is wide enough.

    Raises:
        ValueError: xs and ys differ in length, or the xs are not finite and ascending.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    color: str = ""
    dashed: bool = False
    marker: int | None = None
    note: str = ""
    end: str = ""

    def __post_init__(self) -> None:
        if len(self.xs) != len(self.ys):
            raise ValueError(f"a series needs as many ys as xs, not {len(self.ys)} and {len(self.xs)}")
        if len(self.xs) and not _ascending(self.xs):
            raise ValueError("the xs of a series must be finite and ascending")


@dataclass(frozen=True, slots=True)
class Chart:
    """Series on common axes, the last one on top. A range that is None is computed from the points.

    `whole_x` restricts x ticks to integers (epochs, steps). `cursor_x` draws a vertical line. With `log_y` the ys are
    decimal logarithms, and ticks are labelled with the values.
    """

    series: tuple[Series, ...]
    x: Range | None = None
    y: Range | None = None
    title: str = ""
    x_label: str = ""
    whole_x: bool = False
    legend_rows: int = 1
    cursor_x: float | None = None
    log_y: bool = False
    empty: str = "no data yet"


def _ascending(xs: Sequence[float]) -> bool:
    if not (math.isfinite(xs[0]) and math.isfinite(xs[-1])):
        return False
    if len(xs) < LONG:
        return all(map(le, xs, islice(xs, 1, None)))  # comparisons with NaN are false
    import numpy as np

    values = np.asarray(xs, dtype=float)
    return bool((values[:-1] <= values[1:]).all())
