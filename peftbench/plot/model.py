"""What is drawn (series, ranges, a chart) and what comes of it (segments, rows)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from operator import le
from typing import NamedTuple

LONG = 20_000  # points from which on a series is worth numpy's import

# Styles of what is no series; a series has its colour for a style.
AXIS, LABEL, TITLE, CURSOR, BLANK = "chart.axis", "chart.label", "chart.title", "chart.cursor", ""


class Segment(NamedTuple):
    """A stretch of a row in one style: a series' colour, or one of the chart's own styles."""

    text: str
    style: str


Row = tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of an axis, both ends in it.

    Raises:
        ValueError: an end is not finite, or they are not apart.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (self.low < self.high and math.isfinite(self.high - self.low)):
            raise ValueError(f"a range needs finite ends, the lower one first, not {self.low} and {self.high}")


@dataclass(frozen=True, slots=True)
class Series:
    """A curve. A y that is None, NaN or infinite is a gap; its neighbours are not joined over it.

    `marker` is a place in the glyphs' sets of markers, drawn on the points (as far apart as they need to be told);
    two series of one thing, one of them dashed, share it. `note` stands behind the name in the legend; a series
    without a name is not in it. `end` stands beside its last visible point where the chart is wide enough.

    Raises:
        ValueError: xs and ys are not as many, or the xs are not finite and ascending.
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
    """Series on common axes, the last one on top. A range that is None comes of the points.

    `whole_x` asks for ticks at whole numbers only (epochs, steps). `cursor_x` draws a vertical line.
    """

    series: tuple[Series, ...]
    x: Range | None = None
    y: Range | None = None
    title: str = ""
    x_label: str = ""
    whole_x: bool = False
    legend_rows: int = 1
    cursor_x: float | None = None
    empty: str = "no data yet"


def _ascending(xs: Sequence[float]) -> bool:
    if not (math.isfinite(xs[0]) and math.isfinite(xs[-1])):
        return False
    if len(xs) < LONG:
        return all(map(le, xs, islice(xs, 1, None)))  # NaN is neither below nor above
    import numpy as np

    values = np.asarray(xs, dtype=float)
    return bool((values[:-1] <= values[1:]).all())
