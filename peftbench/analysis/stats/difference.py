"""Difference between two groups of runs in a metric on the same dev examples: interval, test and verdict.

With two runs or more on each side the interval is about the methods: other seeds and other examples (`interval`).
With one run on a side the variance between that side's seeds is unknown, and the interval is about these runs: that of
the paired bootstrap over examples. For one run each, accuracy is tested by McNemar's exact test where examples are
independent (not in `clusters`). The verdict must say so. Runs of a cross-validation are paired by fold (`folds`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from peftbench.analysis.stats.bootstrap import ScoreSample, deviations
from peftbench.analysis.stats.folds import Folds, FoldSample, fold_difference
from peftbench.analysis.stats.interval import ALPHA, VarianceComponents, p_value
from peftbench.analysis.stats.power import PowerAnalysis
from peftbench.analysis.stats.pvalues import holm, mcnemar_exact
from peftbench.analysis.stats.student_t import upper_quantile
from peftbench.analysis.stats.variance_components import variance_components_of
from peftbench.metrics import METRICS, sign_of

Verdict = Literal["better", "worse", "no detectable difference"]
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class MetricDifference:
    """A metric's difference, other less baseline, with its 95 % interval.

    `p` belongs to the interval (with one run on each side, accuracy's is McNemar's); `p_holm` is `p` after Holm's
    correction over the metrics compared. `outlook` is set on request.
    """

    name: str  # the task, or dev_avg
    metric: str
    examples: int
    runs: tuple[int, int]
    paired: bool  # seed by seed
    values: tuple[float, float]  # baseline, other: means over the runs
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    noise: VarianceComponents
    mcnemar_p: tuple[float, ...] = ()  # of accuracy, for each pair of runs
    outlook: PowerAnalysis | None = None
    clusters: int | None = None  # their number, where the runs name clusters of examples
    folds: Folds | None = None  # of a cross-validation; `paired` is then fold by fold

    @property
    def one_each(self) -> bool:
        """Whether each side is a single run."""
        return self.runs == (1, 1)

    @property
    def of_these_runs(self) -> bool:
        """Whether a side is a single run: its variance between seeds is unknown, and the methods are not judged."""
        return min(self.runs) == 1

    @property
    def verdict(self) -> Verdict:
        """The verdict: significant where interval and corrected p-value agree."""
        if self.p_holm > ALPHA or self.low <= 0 <= self.high:
            return "no detectable difference"
        return "better" if sign_of(self.metric) * self.difference > 0 else "worse"


def difference(
    sample: ScoreSample | FoldSample, baseline: Sequence[str], other: Sequence[str], paired: bool
) -> MetricDifference | None:
    """Compare two groups, given by the ids of their runs; None where one of these is not in the sample.

    Of folds, None also where the two have too few in common (`fold_difference` says why).

    Args:
        sample: contains the runs of both.
        baseline: run ids of the first group, ordered by seed where `paired`.
        other: run ids of the second, likewise.
        paired: whether the two have the same seeds; folds are paired anyway.
    """
    if isinstance(sample, FoldSample):
        return _of_folds(sample, baseline, other)
    first, second = sample.indices_of(baseline), sample.indices_of(other)
    if first is None or second is None:
        return None
    values = float(sample.values[first].mean()), float(sample.values[second].mean())
    observed, noise = values[1] - values[0], variance_components_of(sample, first, second, paired)
    low, high = interval(sample, first, second, observed, noise)
    one_each = len(first) == len(second) == 1
    exact = _mcnemar(sample, first, second) if paired or one_each else ()
    p = exact[0] if exact and one_each else p_value(observed, noise)
    return MetricDifference(
        name=sample.name,
        metric=sample.metric,
        examples=sample.examples,
        runs=(len(first), len(second)),
        paired=paired and not one_each,
        values=values,
        difference=observed,
        low=low,
        high=high,
        p=p,
        p_holm=p,
        noise=noise,
        mcnemar_p=exact,
        clusters=sample.units if sample.clustered else None,
    )


def mean_value(sample: ScoreSample | FoldSample, ids: Sequence[str]) -> float | None:
    """Return a group's value: the mean over its runs, of folds over folds; None where a run is not in the sample."""
    if isinstance(sample, FoldSample):
        return sample.mean(ids)
    indices = sample.indices_of(ids)
    return None if indices is None else float(sample.values[indices].mean())


def _of_folds(sample: FoldSample, baseline: Sequence[str], other: Sequence[str]) -> MetricDifference | None:
    made = fold_difference(sample, baseline, other)
    if isinstance(made, str):
        return None
    half, most = made.noise.half_width(), range_of(sample.metric)
    p = p_value(made.difference, made.noise)
    return MetricDifference(
        name=sample.name,
        metric=sample.metric,
        examples=made.examples,
        runs=(len(baseline), len(other)),
        paired=True,
        values=made.values,
        difference=made.difference,
        low=_without_rounding(max(made.difference - half, -most)),
        high=_without_rounding(min(made.difference + half, most)),
        p=p,
        p_holm=p,
        noise=made.noise,
        folds=made.folds,
    )


def corrected(differences: Sequence[MetricDifference]) -> tuple[MetricDifference, ...]:
    """Return the differences with p-values corrected by Holm for their number."""
    adjusted = holm([each.p for each in differences])
    return tuple(replace(each, p_holm=p) for each, p in zip(differences, adjusted, strict=True))


def interval(
    sample: ScoreSample, first: Sequence[int], second: Sequence[int], observed: float, noise: VarianceComponents
) -> tuple[float, float]:
    """Return the 95 % interval; its asymmetry over examples is the bootstrap's, its width that of `noise`.

    On neither side is it narrower than the bootstrap's with these runs held fixed.
    """
    import numpy as np

    weights = np.zeros(len(sample.runs))
    weights[second] = 1 / len(second)
    weights[first] -= 1 / len(first)
    moved = deviations(sample, weights)
    edges = np.percentile(moved, (100 * ALPHA / 2, 100 - 100 * ALPHA / 2))
    usual = upper_quantile(ALPHA / 2, math.inf) * float(moved.std())
    wider = upper_quantile(ALPHA / 2, noise.examples_df) / upper_quantile(ALPHA / 2, math.inf)
    seeds, examples = noise.square_of_seeds(ALPHA), noise.square_of_examples(ALPHA)

    def reach(edge: float) -> float:
        lopsided = max(edge, 0.0) / usual if usual else 1.0
        return max(math.sqrt(seeds + examples * lopsided**2), max(edge, 0.0) * wider)

    most = largest(sample)
    low, high = observed - reach(-float(edges[0])), observed + reach(float(edges[1]))
    return _without_rounding(max(low, -most)), _without_rounding(min(high, most))


def largest(sample: ScoreSample) -> float:
    """Return the largest possible difference: 1 for accuracies, 2 for Pearson r; infinite without a lower bound."""
    if sample.parts:
        return sum(map(largest, sample.parts)) / len(sample.parts)
    return range_of(sample.metric)


def range_of(metric: str) -> float:
    """Return a metric's highest value less its lowest; of a mean over tasks 2, as of correlations."""
    return METRICS[metric].high - METRICS[metric].low if metric in METRICS else 2.0


def _without_rounding(edge: float) -> float:
    """Return an interval's edge; zero where only rounding separates it from zero."""
    return 0.0 if abs(edge) < _ROUNDING else edge


def _mcnemar(sample: ScoreSample, first: Sequence[int], second: Sequence[int]) -> tuple[float, ...]:
    if sample.correct is None or sample.clusters is not None:  # the test assumes independent examples
        return ()
    moved = sample.correct[second] - sample.correct[first]
    return tuple(mcnemar_exact(int((row < 0).sum()), int((row > 0).sum())) for row in moved)
