"""Long series made short: of the points in one column of dots, the first, the lowest, the highest and the last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from peftbench.plot.model import LONG


class Summary(NamedTuple):
    """What some points come to; None throughout where all are gaps, `first` or `last` where that one is."""

    first: float | None
    low: float | None
    high: float | None
    last: float | None


def known(y: float | None) -> float | None:
    """Return a value, or None where it is a gap (None, NaN, infinite)."""
    return y if y is not None and math.isfinite(y) else None


def summaries(ys: Sequence[float | None], bounds: Sequence[int]) -> list[Summary]:
    """Return the summary of each stretch of ys: from a bound to the next one, none of them empty."""
    if bounds[-1] - bounds[0] >= LONG:
        return _by_numpy(ys, bounds)
    return [_summary(ys[begin:end]) for begin, end in pairwise(bounds)]


def _summary(part: Sequence[float | None]) -> Summary:
    try:
        whole = math.isfinite(sum(part))  # type: ignore[arg-type]
    except TypeError:
        whole = False
    found = part if whole else [y for y in part if known(y) is not None]
    if not len(found):
        return Summary(None, None, None, None)
    return Summary(known(part[0]), min(found), max(found), known(part[-1]))  # type: ignore[type-var]


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
