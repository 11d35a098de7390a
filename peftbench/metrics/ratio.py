"""Metrics that are a ratio of two sums over examples: accuracy, F1 of one class, micro F1, Brier score, MAE, RMSE."""

from __future__ import annotations

import numpy as np

from peftbench.metrics.computed import Computed
from peftbench.metrics.inputs import Checked
from peftbench.metrics.scaling import unit_scale
from peftbench.metrics.spans import CORRECT, CORRECT_TOKENS, PREDICTED, TOKENS, TRUE
from peftbench.metrics.units import Units

NAMES = (
    "accuracy", "exact_match", "f1", "micro_f1", "brier", "mae", "rmse", "span_f1", "span_precision", "span_recall",
    "token_accuracy",
)  # fmt: skip


class Ratio(Computed):
    """`sum(w * numerator) / sum(w * denominator)` of each run; of RMSE the root of it. Undefined as 0 / 0."""

    def __init__(self, checked: Checked, units: Units) -> None:
        numerator, denominator = _terms(checked)
        self._root, self._scales, self._examples = checked.name == "rmse", (1.0, 1.0), units.examples
        if checked.name in ("mae", "rmse"):  # sums and squares of large errors would overflow
            scale = max(unit_scale(checked.labels), unit_scale(checked.outputs))
            errors = np.abs(checked.outputs / scale - checked.labels / scale)
            self._scales = unit_scale(errors), scale
            numerator = (errors / self._scales[0]) ** (2 if self._root else 1)
        self._numerator, self._denominator = units.summed(numerator.T), units.summed(denominator.T)

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return the metric [resamples, runs] by weights [resamples, units]."""
        value = (weights @ self._numerator) / (weights @ self._denominator)
        return np.asarray((np.sqrt(value) if self._root else value) * self._scales[0] * self._scales[1])

    def influence(self) -> np.ndarray:
        """Return [runs, units]: the derivative by a unit's weight times the number of examples; NaN if RMSE is 0."""
        numerator, denominator = self._numerator.T, self._denominator.T
        value = numerator.sum(axis=1) / denominator.sum(axis=1)
        influence = (numerator - value[:, None] * denominator) * self._examples / denominator.sum(axis=1, keepdims=True)
        influence = influence / (2 * np.sqrt(value[:, None])) if self._root else influence
        return np.asarray(influence * self._scales[0] * self._scales[1])


def _terms(checked: Checked) -> tuple[np.ndarray, np.ndarray]:
    """Return numerator [runs, n] and denominator [runs, n], or [1, n] where all runs have the same."""
    labels, outputs, name = checked.labels, checked.outputs, checked.name
    ones = np.ones((1, len(labels)))
    if checked.input == "spans":
        return _of_spans(name, outputs)
    if checked.input == "indicator":
        if name == "exact_match":
            return (outputs == labels).all(axis=2).astype(np.float64), ones
        both, total = (outputs & labels).sum(axis=2), outputs.sum(axis=2) + labels.sum(axis=1)
        return 2.0 * both, total.astype(np.float64)
    if name == "f1":
        return 2.0 * (outputs & labels), (outputs + labels).astype(np.float64)
    if name == "brier":
        return _brier(labels, outputs), ones
    return (outputs == labels).astype(np.float64), ones  # accuracy, which is micro F1 of one class an example


def _of_spans(name: str, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if name == "token_accuracy":
        return counts[..., CORRECT_TOKENS], counts[..., TOKENS]
    if name == "span_f1":
        return 2 * counts[..., CORRECT], counts[..., PREDICTED] + counts[..., TRUE]
    return counts[..., CORRECT], counts[..., PREDICTED if name == "span_precision" else TRUE]


def _brier(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    if outputs.ndim == 2:
        return np.asarray((outputs - labels) ** 2)
    target = labels[:, None] == np.arange(outputs.shape[2])
    halved = 0.5 if outputs.shape[2] == 2 else 1.0
    return np.asarray(((outputs - target) ** 2).sum(axis=2) * halved)
