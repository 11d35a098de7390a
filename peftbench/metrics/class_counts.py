"""Metrics of class predictions that are functions of the counts of each class: macro F1, MCC, kappa and others.

All of them need only, for each class, how often it is predicted, how often it is the label, and how often it is both;
these are summed from the weights of each pair of label and prediction that occurs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from peftbench.metrics.computed import Computed
from peftbench.metrics.inputs import Checked
from peftbench.metrics.units import Units, taken

Counts = tuple[
    np.ndarray, np.ndarray, np.ndarray
]  # of each class, right, in the labels, predicted: [resamples, classes]
_ZERO = 1e-14  # a denominator is 0 below this part of its terms, which rounding leaves of weights that are not integers


class ClassCounts(Computed):
    """A function of the counts of classes, or of labels where an example has several."""

    def __init__(self, checked: Checked, units: Units) -> None:
        self._formula = FORMULAS[checked.name]
        counter = _Indicator if checked.input == "indicator" else _Pairs
        self.at_once = counter.at_once
        self._counters = [counter(checked.labels, run, units) for run in checked.outputs]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return the metric [resamples, runs] by weights [resamples, units]."""
        return np.stack([self._formula(*counter(weights)) for counter in self._counters], axis=1)


class _Pairs:
    """Counts of classes where an example has one: examples are sorted by label and prediction, and summed by both."""

    at_once = Computed.at_once

    def __init__(self, labels: np.ndarray, predictions: np.ndarray, units: Units) -> None:
        classes, numbers = np.unique(np.stack([labels, predictions]), return_inverse=True)
        number = numbers.reshape(2, -1)
        pairs, pair_of = np.unique(number[0] * len(classes) + number[1], return_inverse=True)
        order = np.argsort(pair_of, kind="stable")
        self._units = units.of_examples(order)
        self._starts = np.searchsorted(pair_of[order], np.arange(len(pairs)))
        label, predicted = np.divmod(pairs, len(classes))
        self._classes = len(classes)
        self._right = label[label == predicted], np.flatnonzero(label == predicted)
        self._label, self._label_starts = np.unique(label, return_index=True)
        self._by_predicted = np.argsort(predicted, kind="stable")
        self._predicted, self._predicted_starts = np.unique(predicted[self._by_predicted], return_index=True)

    def __call__(self, weights: np.ndarray) -> Counts:
        pairs = np.add.reduceat(taken(weights, self._units), self._starts, axis=1)
        right, labels, predicted = (np.zeros((len(weights), self._classes)) for _ in range(3))
        right[:, self._right[0]] = pairs[:, self._right[1]]
        labels[:, self._label] = np.add.reduceat(pairs, self._label_starts, axis=1)
        by_predicted = pairs.take(self._by_predicted, axis=1)
        predicted[:, self._predicted] = np.add.reduceat(by_predicted, self._predicted_starts, axis=1)
        return right, labels, predicted


class _Indicator:
    """Counts of labels where an example has several; labels are kept as bits and made numbers for many weights."""

    at_once = 2**20

    def __init__(self, labels: np.ndarray, predictions: np.ndarray, units: Units) -> None:
        self._labels, self._predictions, self._units = labels, predictions, units.of_examples()

    def __call__(self, weights: np.ndarray) -> Counts:
        of_examples = taken(weights, self._units)
        right, labels, predicted = (
            of_examples @ each.astype(np.float64)
            for each in (self._labels & self._predictions, self._labels, self._predictions)
        )
        return right, labels, predicted


def _f1(right: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return F1 of each class; 0 for a class that is neither label nor predicted."""
    total = labels + predicted
    return np.where(total > 0, 2 * right / np.where(total > 0, total, 1), 0)


def _macro_f1(right: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.asarray(_f1(right, labels, predicted).sum(axis=1) / ((labels + predicted) > 0).sum(axis=1))


def _weighted_f1(right: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.asarray((labels * _f1(right, labels, predicted)).sum(axis=1) / labels.sum(axis=1))


def _balanced_accuracy(right: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    recall = np.where(labels > 0, right / np.where(labels > 0, labels, 1), 0)
    return np.asarray(recall.sum(axis=1) / (labels > 0).sum(axis=1))


def _mcc(right: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    total = labels.sum(axis=1)
    covariance = right.sum(axis=1) * total - (labels * predicted).sum(axis=1)
    of_labels, of_predicted = (total**2 - (each**2).sum(axis=1) for each in (labels, predicted))
    constant = np.minimum(of_labels, of_predicted) <= _ZERO * total**2
    return np.where(constant, np.nan, np.clip(covariance / (np.sqrt(of_labels) * np.sqrt(of_predicted)), -1, 1))


def _cohen_kappa(right: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    total, chance = labels.sum(axis=1), (labels * predicted).sum(axis=1)
    rest = total**2 - chance
    return np.where(rest <= _ZERO * total**2, np.nan, (right.sum(axis=1) * total - chance) / rest)


FORMULAS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "macro_f1": _macro_f1,
    "weighted_f1": _weighted_f1,
    "balanced_accuracy": _balanced_accuracy,
    "mcc": _mcc,
    "cohen_kappa": _cohen_kappa,
}
