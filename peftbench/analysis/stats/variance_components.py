"""Variance components of a difference between two groups of runs: of seeds, and of the examples that they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from peftbench.analysis.stats.bootstrap import ScoreSample
from peftbench.analysis.stats.clusters import summed
from peftbench.analysis.stats.interval import VarianceComponents

if TYPE_CHECKING:
    import numpy as np


def variance_components_of(
    sample: ScoreSample, first: Sequence[int], second: Sequence[int], paired: bool
) -> VarianceComponents:
    """Return the noise of second's mean less first's; both are indices in the sample, paired by seed if `paired`.

    With one run on a side its variance between seeds is unknown: only the variance over examples is returned, with
    these runs held fixed.
    """
    import numpy as np

    a, b = sample.values[first], sample.values[second]
    of_a, of_b = sample.covariance[np.ix_(first, first)], sample.covariance[np.ix_(second, second)]
    across = sample.covariance[np.ix_(first, second)]
    of_runs = max(float(of_a.mean() + of_b.mean() - 2 * across.mean()), 0.0)
    examples_df = _examples_df(sample, first, second)
    if min(len(a), len(b)) == 1:
        return VarianceComponents(0.0, math.inf, of_runs, examples_df, of_runs)
    if paired:
        shared = max(between(of_a + of_b - across - across.T), 0.0)
        return VarianceComponents(float((b - a).var(ddof=1)) / len(a), len(a) - 1.0, shared, examples_df, of_runs)
    shared = max(between(of_a) + between(of_b) - 2 * float(across.mean()), 0.0)
    seeds = of_means(float(a.var(ddof=1)), len(a), float(b.var(ddof=1)), len(b))
    return replace(seeds, of_examples=shared, examples_df=examples_df, of_runs=of_runs)


def of_means(variance_a: float, a: int, variance_b: float, b: int) -> VarianceComponents:
    """Return the noise of a difference of two means over `a` and `b` runs, two or more each, from their variances."""
    if a == b:
        return VarianceComponents(*equal_sizes(variance_a, variance_b, a), 0.0)
    sides = (variance_a / a, a - 1.0), (variance_b / b, b - 1.0)
    return VarianceComponents(*satterthwaite(sides), 0.0, sides=sides)


def satterthwaite(sides: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the sum of variances, each with its degrees of freedom, and those of the sum (Satterthwaite 1946)."""
    total = math.fsum(variance for variance, _ in sides)
    squares = math.fsum(variance**2 / df for variance, df in sides)
    return total, total**2 / squares if squares else math.fsum(df for _, df in sides)


def equal_sizes(variance_a: float, variance_b: float, n: int) -> tuple[float, float]:
    """Return the variance of a difference of two means of n > 1 values each, and its degrees of freedom.

    Welch's, with his correction for few values (1947): n + 1 replaces n - 1, and 2 is subtracted; at most 2 (n - 1).
    Without it three seeds on each side cover 97 % and more (`benchmarks/coverage`).
    """
    of_a, of_b = variance_a / n, variance_b / n
    squares = (of_a**2 + of_b**2) / (n + 1)
    return of_a + of_b, min((of_a + of_b) ** 2 / squares - 2 if squares else math.inf, 2 * n - 2.0)


def between(covariance: np.ndarray) -> float:
    """Return the mean covariance of two runs of a group, from [runs, runs]: their shared variance over examples."""
    n = len(covariance)
    return float(covariance.sum() - covariance.trace()) / (n * (n - 1))


def _examples_df(sample: ScoreSample, first: Sequence[int], second: Sequence[int]) -> float:
    """Return the degrees of freedom of the variance over examples.

    For accuracy, those of the examples on which the groups differ. For Pearson r, whose noise can come from few
    outliers, and for clusters, of which few may be large: 2 n / (kurtosis - 1) of the contributions of the n units to
    the difference (Satterthwaite).
    """
    if sample.parts:
        return satterthwaite([_of_part(part, sample, first, second) for part in sample.parts])[1]
    if sample.correct is None:
        assert sample.influence is not None
        return _by_kurtosis(sample.influence[second].mean(axis=0) - sample.influence[first].mean(axis=0))
    moved = sample.correct[second].mean(axis=0) - sample.correct[first].mean(axis=0)
    if sample.clusters is not None:
        return _by_kurtosis(summed(moved - moved.mean(), sample.clusters))
    return max(float((abs(moved) > 1e-12).sum()) - 1, 1.0)


def _by_kurtosis(moved: np.ndarray) -> float:
    most = max(len(moved) - 1.0, 1.0)
    farthest = float(abs(moved).max())
    if not farthest:
        return most
    squares = (moved / farthest) ** 2
    excess = float((squares**2).mean()) / float(squares.mean()) ** 2 - 1
    return min(max(2 * len(moved) / excess, 1.0), most) if excess > 0 else most


def _of_part(part: ScoreSample, full: ScoreSample, first: Sequence[int], second: Sequence[int]) -> tuple[float, float]:
    """Return the variance of a part's difference with these runs held fixed, and its degrees of freedom."""
    import numpy as np

    first, second = (part.indices_of([full.runs[at] for at in side]) or [] for side in (first, second))
    weights = np.zeros(len(part.runs))
    weights[second] = 1 / len(second)
    weights[first] -= 1 / len(first)
    return max(float(weights @ part.covariance @ weights), 0.0), _examples_df(part, first, second)
