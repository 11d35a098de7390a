"""A group's own score with its interval: where it may lie with other seeds and other dev examples."""

from __future__ import annotations

from collections.abc import Sequence

from peftbench.analysis.estimate import Estimate
from peftbench.analysis.interval import Noise
from peftbench.analysis.noise import between
from peftbench.analysis.samples import Sample


def level(sample: Sample, ids: Sequence[str]) -> Estimate | None:
    """Return the mean of some runs' values with its 95 % interval (`interval`: seeds and examples apart).

    Of one run it is about that run: other examples, not other seeds. None where a run is not in the sample.
    """
    import numpy as np

    places = sample.places(ids)
    if not places:
        return None
    n, values = len(places), sample.values[places]
    of = sample.covariance[np.ix_(places, places)]
    if n == 1:
        noise = Noise(0.0, float("inf"), float(of[0, 0]))
    else:
        noise = Noise(float(values.var(ddof=1)) / n, n - 1.0, max(between(of), 0.0))
    mean, half = float(values.mean()), noise.half_width()
    return Estimate(mean, mean - half, mean + half, noise)
