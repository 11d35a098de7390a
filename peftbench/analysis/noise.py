"""The noise of a difference between two groups of runs: that of seeds, and that of the examples they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from peftbench.analysis.interval import Noise
from peftbench.analysis.samples import Sample

if TYPE_CHECKING:
    import numpy as np


def noise_of(sample: Sample, first: Sequence[int], second: Sequence[int], paired: bool) -> Noise:
    """Return the noise of second's mean less first's; both are places in the sample, and pairs of seeds if `paired`.

    With one run on each side there is no spread between seeds to be known: only the examples' part is there.
    """
    import numpy as np

    a, b = sample.values[first], sample.values[second]
    of_a, of_b = sample.covariance[np.ix_(first, first)], sample.covariance[np.ix_(second, second)]
    across = sample.covariance[np.ix_(first, second)]
    if len(a) == len(b) == 1:
        return Noise(0.0, math.inf, max(float(of_a[0, 0] + of_b[0, 0] - 2 * across[0, 0]), 0.0))
    if paired:
        shared = between(of_a + of_b - across - across.T)
        seeds, df = float((b - a).var(ddof=1)) / len(a), len(a) - 1.0
    else:
        shared = _shared(of_a, of_b) + _shared(of_b, of_a) - 2 * float(across.mean())
        of_both = _variance(a), len(a), _variance(b), len(b)
        seeds, df = equal_sizes(*of_both) if len(a) == len(b) else welch(*of_both)
    return Noise(seeds, df, max(shared, 0.0), _examples_df(sample, first, second))


def welch(variance_a: float | None, a: int, variance_b: float | None, b: int) -> tuple[float, float]:
    """Return the variance of a difference of two means and its degrees of freedom (Welch 1947; Satterthwaite 1946).

    A side of one value has no variance (None): the other's is taken for both. Both None is not for this.
    """
    if variance_a is None or variance_b is None:
        known = (variance_b if variance_a is None else variance_a) or 0.0
        return known / a + known / b, max(a, b) - 1.0
    of_a, of_b = variance_a / a, variance_b / b
    squares = of_a**2 / (a - 1) + of_b**2 / (b - 1)
    return of_a + of_b, (of_a + of_b) ** 2 / squares if squares else a + b - 2.0


def equal_sizes(variance_a: float | None, a: int, variance_b: float | None, b: int) -> tuple[float, float]:
    """Return the same for two means of equally many values, a = b > 1, with Welch's correction for few of them.

    n + 1 stands for n - 1, and 2 is taken off (Welch 1947); at most 2 (n - 1). Without it three seeds on each side
    cover 97 % and more (`benchmarks/coverage`); of unequal sizes it would cover too little.
    """
    of_a, of_b = (variance_a or 0.0) / a, (variance_b or 0.0) / b
    squares = (of_a**2 + of_b**2) / (a + 1)
    return of_a + of_b, min((of_a + of_b) ** 2 / squares - 2 if squares else math.inf, a + b - 2.0)


def _variance(values: np.ndarray) -> float | None:
    return float(values.var(ddof=1)) if len(values) > 1 else None


def between(covariance: np.ndarray) -> float:
    """Return the mean covariance of two runs of a group (its covariances [runs, runs]): what they share by examples."""
    n = len(covariance)
    return float(covariance.sum() - covariance.trace()) / (n * (n - 1))


def _shared(own: np.ndarray, others: np.ndarray) -> float:
    """Return the same of a group; of a single run, its variance less what the other group's runs have apart."""
    if len(own) > 1:
        return between(own)
    return float(own[0, 0]) - (float(others.trace()) / len(others) - between(others))


def _examples_df(sample: Sample, first: Sequence[int], second: Sequence[int]) -> float:
    """Return the degrees of freedom of the examples' part; for accuracy, of those on which the groups differ."""
    if sample.correct is None:
        return max(sample.examples - 1.0, 1.0)
    moved = sample.correct[second].mean(axis=0) - sample.correct[first].mean(axis=0)
    return max(float((abs(moved) > 1e-12).sum()) - 1, 1.0)
