"""Expected calibration error over weighted examples."""

from __future__ import annotations

import numpy as np

from peftbench.metrics.computed import Computed
from peftbench.metrics.inputs import Checked
from peftbench.metrics.units import Units, taken

BINS = 15


class Calibration(Computed):
    """ECE: the sum over bins of |sum(w * (confidence - correct))|, over the sum of weights.

    Confidence is the probability of the predicted class: of two classes at least 0.5. Bin k holds what is above k / 15
    and at most (k + 1) / 15 (Guo et al. 2017, section 2). The class predicted is 1 where its probability is above 0.5;
    of several the first with the highest probability.
    """

    def __init__(self, checked: Checked, units: Units) -> None:
        outputs, labels = checked.outputs, checked.labels
        if outputs.ndim == 2:
            confidence, predicted = np.maximum(outputs, 1 - outputs), (outputs > 0.5).astype(np.int64)
        else:
            confidence, predicted = outputs.max(axis=2), outputs.argmax(axis=2)
        gaps, bins = confidence - (predicted == labels), bins_of(confidence)
        orders = [np.argsort(row, kind="stable") for row in bins]
        self._runs = [
            (
                units.of_examples(order),
                gap[order],
                np.flatnonzero(np.diff(row[order], prepend=-1)),
            )
            for order, gap, row in zip(orders, gaps, bins, strict=True)
        ]
        self._gaps, self._bins, self._units, self._sizes = gaps, bins, units, units.sizes()

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return the metric [resamples, runs] by weights [resamples, units]."""
        sums = []
        for of_examples, gap, starts in self._runs:
            moved = np.add.reduceat(taken(weights, of_examples) * gap, starts, axis=1)
            sums.append(np.abs(moved).sum(axis=1))
        return np.asarray(np.stack(sums, axis=1) / (weights @ self._sizes)[:, None])

    def influence(self) -> np.ndarray:
        """Return [runs, units]: the derivative by a unit's weight, times the number of examples.

        Where a bin's sum is 0 the absolute value has no derivative: its examples have that of 0.
        """
        rows = []
        for gap, bins in zip(self._gaps, self._bins, strict=True):
            sums = np.bincount(bins, weights=gap, minlength=BINS)
            rows.append(np.sign(sums)[bins] * gap - np.abs(sums).sum() / len(gap))
        return np.asarray(self._units.summed(np.stack(rows).T).T)


def bins_of(confidence: np.ndarray) -> np.ndarray:
    """Return the bin of each confidence, from 0."""
    edges = np.linspace(0, 1, BINS + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, BINS - 1)
