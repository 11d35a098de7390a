"""A group's own score with its interval over other seeds and other dev examples."""

from __future__ import annotations

from collections.abc import Sequence

from peftbench.analysis.stats.bootstrap import ScoreSample
from peftbench.analysis.stats.estimate import Estimate
from peftbench.analysis.stats.interval import VarianceComponents
from peftbench.analysis.stats.variance_components import between


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
