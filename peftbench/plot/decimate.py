"""Decimation of long series: first, minimum, maximum and last of the points in each column of dots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from peftbench.plot.model import LONG


class Summary(NamedTuple):
    """Summary of several points; all None if all are gaps, `first` or `last` None if that point is a gap."""

    first: float | None
    low: float | None
    high: float | None
    last: float | None


def known(y: float | None) -> float | None:
    """Return a value, or None if it is a gap (None, NaN, infinite)."""
    return y if y is not None and math.isfinite(y) else None


def summaries(ys: Sequence[float | None], bounds: Sequence[int]) -> list[Summary]:
    """Return the summary of each slice of ys between consecutive bounds; no slice may be empty."""
    if bounds[-1] - bounds[0] >= LONG:
        return _by_numpy(ys, bounds)
    return [_summary(ys[begin:end]) for begin, end in pairwise(bounds)]


def _summary(part: Sequence[float | None]) -> Summary:
    try:
        finite = math.isfinite(sum(part))  # type: ignore[arg-type]
    except TypeError:
        finite = False
    values = part if finite else [y for y in part if known(y) is not None]
    if not len(values):
        return Summary(None, None, None, None)
    return Summary(known(part[0]), min(values), max(values), known(part[-1]))  # type: ignore[type-var]


def _by_numpy(ys: Sequence[float | None], bounds: Sequence[int]) -> list[Summary]:
    import numpy as np

    values = np.asarray(ys[bounds[0] : bounds[-1]], dtype=float)  # None becomes NaN
    finite = np.isfinite(values)
    if not finite.all():
        values = np.where(finite, values, np.nan)
    starts = np.asarray(bounds[:-1]) - bounds[0]
    ends = np.asarray(bounds[1:]) - bounds[0] - 1
    columns = (values[starts], np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts), values[ends])
    return [Summary(*map(known, row)) for row in zip(*(column.tolist() for column in columns), strict=True)]
