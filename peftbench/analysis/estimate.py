"""An estimate with its 95 % interval, and whether that lies inside a margin or beyond it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.analysis.groups import spread
from peftbench.analysis.interval import ALPHA, Noise, p_value
from peftbench.analysis.noise import welch
from peftbench.analysis.student import quantile


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference with its 95 % interval. `share`: a relative one (0.1: a tenth more), its noise that of its log."""

    value: float
    low: float
    high: float
    noise: Noise
    share: bool = False

    def inside(self, low: float, high: float) -> bool:
        """Tell whether the whole interval lies between two edges: equivalence, by two one-sided tests at 2.5 %."""
        return low < self.low and self.high < high

    def p_beyond(self, edge: float) -> float:
        """Return the two-sided p-value of the true difference being `edge`."""
        off = math.log1p(self.value) - math.log1p(edge) if self.share else self.value - edge
        return p_value(off, self.noise)


def relative(baseline: Sequence[float], other: Sequence[float]) -> Estimate | None:
    """Return other over baseline, less one: of means of logs (Welch). None with one value each, or one not positive."""
    if min((*baseline, *other), default=0.0) <= 0 or not baseline or not other or len(baseline) + len(other) < 3:
        return None
    found = _apart([math.log(value) for value in baseline], [math.log(value) for value in other])
    value, low, high = math.expm1(found.value), math.expm1(found.low), math.expm1(found.high)
    return Estimate(value, low, high, found.noise, share=True)


def slope(xs: Sequence[float], ys: Sequence[float], over: float) -> Estimate | None:
    """Return how much a straight line through points rises over so much of x (least squares; Student's t).

    None where the points are fewer than three or have one x.
    """
    n = len(xs)
    if n < 3 or len(set(xs)) < 2:
        return None
    mean_x, mean_y = math.fsum(xs) / n, math.fsum(ys) / n
    squares = math.fsum((x - mean_x) ** 2 for x in xs)
    rises = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / squares
    left = math.fsum((y - mean_y - rises * (x - mean_x)) ** 2 for x, y in zip(xs, ys, strict=True))
    return _around(rises * over, Noise(left / (n - 2) / squares * over**2, n - 2.0, 0.0))


def _apart(baseline: Sequence[float], other: Sequence[float]) -> Estimate:
    a, b = spread(baseline), spread(other)
    assert a is not None and b is not None
    squares = [None if one.sd is None else one.sd**2 for one in (a, b)]
    variance, df = welch(squares[0], a.n, squares[1], b.n)
    return _around(b.mean - a.mean, Noise(variance, df, 0.0))


def _around(value: float, noise: Noise) -> Estimate:
    half = quantile(1 - ALPHA / 2, noise.seeds_df) * math.sqrt(noise.of_seeds)
    return Estimate(value, value - half, value + half, noise)
