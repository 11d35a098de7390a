"""A metric of several runs over weighted examples: the form that the bootstrap needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from peftbench.metrics.calibration import Calibration
from peftbench.metrics.class_counts import FORMULAS, ClassCounts
from peftbench.metrics.computed import Computed
from peftbench.metrics.inputs import Checked, Tags, arrays, checked, not_finite
from peftbench.metrics.moments import R2, Pearson
from peftbench.metrics.ranks import Auroc, AveragePrecision, Spearman
from peftbench.metrics.ratio import NAMES, Ratio
from peftbench.metrics.units import Units

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_OTHERS: dict[str, Callable[[Checked, Units], Computed]] = {
    "pearson": Pearson,
    "r2": R2,
    "auroc": Auroc,
    "average_precision": AveragePrecision,
    "spearman": Spearman,
    "ece": Calibration,
}

_DRAWN_AT_ONCE = 2**21


class WeightedMetric:
    """One metric of several runs on the same examples, as a function of the weights of units.

    A unit's weight is how often it is drawn, or any number that is not negative. Made by `weighted`.
    """

    def __init__(self, checked: Checked, units: Units) -> None:
        self.name = checked.name
        self.runs = len(checked.outputs)
        self.units = units.count
        self._compute = _compute_of(checked, units)

    def values(self, weights: ArrayLike) -> np.ndarray:
        """Return the metric [resamples, runs] by weights [resamples, units]; NaN where a resample has none.

        Computed in chunks of resamples: temporary arrays take a few MB, or a few times one resample's examples.

        Raises:
            ValueError: weights are not of these units.
        """
        given = np.asarray(weights)
        if given.ndim != 2 or given.shape[1] != self.units:
            raise ValueError(f"weights must be [resamples, {self.units}]; they are {list(given.shape)}")
        values = np.empty((len(given), self.runs))
        rows = max(1, self._compute.at_once // self.units)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore", under="ignore"):
            for start in range(0, len(given), rows):
                values[start : start + rows] = self._compute(given[start : start + rows].astype(np.float64))
        return values

    def resampled(self, rng: np.random.Generator, resamples: int) -> np.ndarray:
        """Return the metric [resamples, runs] of resamples drawn with replacement, as many units as there are."""
        chunks = [self.values(weights) for weights in drawn(rng, resamples, self.units)]
        return np.concatenate(chunks) if chunks else np.empty((0, self.runs))

    def influence(self) -> np.ndarray | None:
        """Return the influence of each unit on each run's metric, [runs, units]; None where no closed form is at hand.

        It is the derivative by the unit's weight at weights of 1, times the number of examples; they sum to 0.
        """
        with np.errstate(invalid="ignore", divide="ignore", over="ignore", under="ignore"):
            return self._compute.influence()


def weighted(name: str, labels: ArrayLike | Tags, outputs: Any, clusters: ArrayLike | None = None) -> WeightedMetric:
    """Return a metric of several runs as a function of the weights of examples, or of clusters.

    Args:
        name: of the metric, a key of `METRICS`.
        labels: of n examples, as the metric's `inputs` say.
        outputs: of each run, in the same order: an array [runs, n], or [runs, n, width]; of tags a sequence of runs.
        clusters: [n] index of each example's cluster, from 0; None: units are examples.

    Raises:
        ValueError: there are no examples or no runs; values are not finite; clusters are not whole numbers from 0, each
            with an example; or as `inputs.checked`.
    """
    true, given = arrays(name, labels, outputs)
    if not len(true) or not len(given):
        raise ValueError("no examples" if not len(true) else "no runs")
    if (missing := not_finite(true, given)) is not None:
        raise ValueError(missing)
    inputs = checked(name, true, given)
    return WeightedMetric(inputs, Units(len(true), None if clusters is None else _clusters(clusters, len(true))))


def drawn(rng: np.random.Generator, resamples: int, units: int) -> Iterator[np.ndarray]:
    """Draw units with replacement; yield chunks of how often each is drawn, [some resamples, units] of int64.

    What is drawn depends on `rng`, not on the size of chunks.
    """
    rows = max(1, _DRAWN_AT_ONCE // units)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        indices = rng.integers(0, units, (count, units))
        indices += np.arange(count)[:, None] * units
        yield np.bincount(indices.ravel(), minlength=count * units).reshape(count, units)


def _clusters(clusters: ArrayLike, examples: int) -> np.ndarray:
    indices = np.asarray(clusters)
    if indices.shape != (examples,) or indices.dtype.kind not in "iu":
        raise ValueError(f"clusters must be {examples} whole numbers, one an example")
    if indices.min() < 0 or len(np.unique(indices)) != indices.max() + 1:
        raise ValueError("clusters must be numbered from 0, each with an example")
    return indices


def _compute_of(checked: Checked, units: Units) -> Computed:
    if checked.name in NAMES:
        return Ratio(checked, units)
    if checked.name in FORMULAS:
        return ClassCounts(checked, units)
    return _OTHERS[checked.name](checked, units)
