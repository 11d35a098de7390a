"""Is the difference between two groups of runs more than chance? In a metric, on the same dev examples.

With several runs on a side the interval is about the methods: other seeds and other examples (`interval`). With one
run on each side it is about these two runs: the percentile interval of the paired bootstrap over examples, and
McNemar's exact test for accuracy. A verdict from it must say that the spread between seeds is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from peftbench.analysis.interval import ALPHA, Noise, p_value
from peftbench.analysis.noise import noise_of
from peftbench.analysis.outlook import Outlook
from peftbench.analysis.pvalues import holm, mcnemar_exact
from peftbench.analysis.samples import Sample, deviations
from peftbench.analysis.student import quantile_beyond

Verdict = Literal["better", "worse", "no detectable difference"]


@dataclass(frozen=True, slots=True)
class MetricDifference:
    """A metric's difference, other less baseline, with its 95 % interval.

    `p` belongs to the interval (with one run on each side, accuracy's is McNemar's); `p_holm` is it after Holm's
    correction over the metrics compared. `outlook` is there where it was asked for.
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
    noise: Noise
    mcnemar_p: tuple[float, ...] = ()  # of accuracy, for each pair of runs
    outlook: Outlook | None = None

    @property
    def one_each(self) -> bool:
        """Whether the spread between seeds is unknown."""
        return self.runs == (1, 1)

    @property
    def verdict(self) -> Verdict:
        """What interval and corrected p-value say together."""
        if self.p_holm > ALPHA or self.low <= 0 <= self.high:
            return "no detectable difference"
        return "better" if self.difference > 0 else "worse"


def difference(sample: Sample, baseline: Sequence[str], other: Sequence[str], paired: bool) -> MetricDifference | None:
    """Compare two groups, given by the ids of their runs; None where a run of theirs is not in the sample.

    Args:
        sample: holds the runs of both.
        baseline: ids of the runs of the first group, in the order of their seeds where `paired`.
        other: ids of the second's.
        paired: whether the two have the same seeds.
    """
    first, second = sample.places(baseline), sample.places(other)
    if first is None or second is None:
        return None
    values = float(sample.values[first].mean()), float(sample.values[second].mean())
    observed, noise = values[1] - values[0], noise_of(sample, first, second, paired)
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
    )


def corrected(differences: Sequence[MetricDifference]) -> tuple[MetricDifference, ...]:
    """Return the differences with their p-values corrected for their number."""
    adjusted = holm([each.p for each in differences])
    return tuple(replace(each, p_holm=p) for each, p in zip(differences, adjusted, strict=True))


def interval(
    sample: Sample, first: Sequence[int], second: Sequence[int], observed: float, noise: Noise
) -> tuple[float, float]:
    """Return the 95 % interval; its lopsidedness over examples is the bootstrap's, its width that of `noise`."""
    import numpy as np

    weights = np.zeros(len(sample.runs))
    weights[second] = 1 / len(second)
    weights[first] -= 1 / len(first)
    moved = deviations(sample, weights)
    edges = [float(edge) for edge in np.percentile(moved, (100 * ALPHA / 2, 100 - 100 * ALPHA / 2))]
    if not noise.of_seeds:
        return observed + edges[0], observed + edges[1]
    usual = quantile_beyond(ALPHA / 2, math.inf) * float(moved.std())
    seeds, examples = noise.square_of_seeds(ALPHA), noise.square_of_examples(ALPHA)
    below, above = (math.sqrt(seeds + examples * ((edge / usual) ** 2 if usual else 1.0)) for edge in edges)
    return observed - below, observed + above


def _mcnemar(sample: Sample, first: Sequence[int], second: Sequence[int]) -> tuple[float, ...]:
    if sample.correct is None:
        return ()
    moved = sample.correct[second] - sample.correct[first]
    return tuple(mcnemar_exact(int((row < 0).sum()), int((row > 0).sum())) for row in moved)
