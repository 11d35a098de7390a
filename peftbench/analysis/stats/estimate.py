"""Estimates with 95 % intervals: of a group's score, a ratio, a slope; and tests of equivalence within a margin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.analysis.groups import spread
from peftbench.analysis.stats.bootstrap import ScoreSample
from peftbench.analysis.stats.interval import VarianceComponents, p_value
from peftbench.analysis.stats.variance_components import between, of_means


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval. `share`: a relative difference (0.1: 10 % more), with the noise of its log."""

    value: float
    low: float
    high: float
    noise: VarianceComponents
    share: bool = False

    def inside(self, low: float, high: float) -> bool:
        """Tell whether the whole interval lies between two edges: equivalence, by two one-sided tests at 2.5 %."""
        return low < self.low and self.high < high

    def p_beyond(self, edge: float) -> float:
        """Return the two-sided p-value for a true difference of `edge`."""
        off = math.log1p(self.value) - math.log1p(edge) if self.share else self.value - edge
        return p_value(off, self.noise)


def level(sample: ScoreSample, ids: Sequence[str]) -> Estimate | None:
    """Return the mean of some runs' values with its 95 % interval over seeds and examples (`interval`).

    For a single run it covers other examples, not other seeds. None where a run is not in the sample.
    """
    import numpy as np

    indices = sample.indices_of(ids)
    if not indices:
        return None
    n, values = len(indices), sample.values[indices]
    of = sample.covariance[np.ix_(indices, indices)]
    if n == 1:
        noise = VarianceComponents(0.0, float("inf"), float(of[0, 0]))
    else:
        of_runs = max(float(of.mean()), 0.0)
        noise = VarianceComponents(float(values.var(ddof=1)) / n, n - 1.0, max(between(of), 0.0), of_runs=of_runs)
    mean, half = float(values.mean()), noise.half_width()
    return Estimate(mean, mean - half, mean + half, noise)


def relative(baseline: Sequence[float], other: Sequence[float]) -> Estimate | None:
    """Return other / baseline - 1, from means of logarithms (`of_means`).

    None where a side has one value, so that its variance is unknown, or a value is not positive.
    """
    if min(len(baseline), len(other)) < 2 or min((*baseline, *other)) <= 0:
        return None
    log_ratio = _difference_of_means([math.log(value) for value in baseline], [math.log(value) for value in other])
    value, low, high = math.expm1(log_ratio.value), math.expm1(log_ratio.low), math.expm1(log_ratio.high)
    return Estimate(value, low, high, log_ratio.noise, share=True)


def to_middle(of: Sequence[float], low: Sequence[float], high: Sequence[float]) -> Estimate | None:
    """Return a figure over the geometric mean of two others, less one, from means of logarithms (Welch; Satterthwaite).

    None where a side has fewer than two values, so that its variance is unknown, or one that is not positive.
    """
    if min(map(len, (of, low, high))) < 2 or min((*of, *low, *high)) <= 0:
        return None
    weighted = [
        (weight, spread(math.log(value) for value in side)) for weight, side in ((1, of), (-0.5, low), (-0.5, high))
    ]
    means = [weight * side.mean for weight, side in weighted if side]
    parts = [(weight**2 * (side.sd or 0.0) ** 2 / side.n, side.n - 1) for weight, side in weighted if side]
    variance = math.fsum(part for part, _ in parts)
    squares = math.fsum(part**2 / df for part, df in parts)
    df = variance**2 / squares if squares else float(sum(df for _, df in parts))
    log_ratio = _symmetric(math.fsum(means), VarianceComponents(variance, df, 0.0))
    return Estimate(
        math.expm1(log_ratio.value), math.expm1(log_ratio.low), math.expm1(log_ratio.high), log_ratio.noise, share=True
    )


def slope(xs: Sequence[float], ys: Sequence[float], over: float) -> Estimate | None:
    """Return the rise of the least-squares line through points over `over` units of x (Student's t interval).

    None for fewer than three points, or where all have the same x.
    """
    n = len(xs)
    if n < 3 or len(set(xs)) < 2:
        return None
    mean_x, mean_y = math.fsum(xs) / n, math.fsum(ys) / n
    squares = math.fsum((x - mean_x) ** 2 for x in xs)
    rises = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / squares
    left = math.fsum((y - mean_y - rises * (x - mean_x)) ** 2 for x, y in zip(xs, ys, strict=True))
    return _symmetric(rises * over, VarianceComponents(left / (n - 2) / squares * over**2, n - 2.0, 0.0))


def _difference_of_means(baseline: Sequence[float], other: Sequence[float]) -> Estimate:
    a, b = spread(baseline), spread(other)
    assert a is not None and b is not None
    return _symmetric(b.mean - a.mean, of_means((a.sd or 0.0) ** 2, a.n, (b.sd or 0.0) ** 2, b.n))


def _symmetric(value: float, noise: VarianceComponents) -> Estimate:
    half = noise.half_width()
    return Estimate(value, value - half, value + half, noise)
