"""Metrics of the order of outputs over weighted examples: AUROC, average precision, Spearman's rho.

Outputs are sorted once; a resample needs running sums of its weights in that order. Ties are exact: running sums are
read at the bounds of each group of equal values. With whole weights all sums are exact up to 2**53, and a value equals
that of examples repeated as often.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from peftbench.metrics.computed import Computed
from peftbench.metrics.inputs import Checked
from peftbench.metrics.units import Units, taken

_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


def _running(weights: np.ndarray) -> np.ndarray:
    """Return sums of the first 0, 1, ..., n of weights [resamples, n]: [resamples, n + 1]."""
    sums = np.empty((weights.shape[0], weights.shape[1] + 1))
    sums[:, 0] = 0
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def _bounds(ordered: np.ndarray) -> np.ndarray:
    """Return where each group of equal values begins in sorted values, and at last their number."""
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return np.append(starts, len(ordered))


class Auroc(Computed):
    """AUROC. Undefined where one of the two classes is not among the labels."""

    def __init__(self, checked: Checked, units: Units) -> None:
        labels, self._units = checked.labels, units
        positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
        self._runs = []
        for outputs in checked.outputs:
            up = positive[np.argsort(outputs[positive], kind="stable")]
            down = negative[np.argsort(outputs[negative], kind="stable")]
            below, at_most = (np.searchsorted(outputs[down], outputs[up], side) for side in _SIDES)
            self._runs.append((up, down, below, at_most))

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return the metric [resamples, runs] by weights [resamples, units]."""
        return np.stack([self._of_run(weights, *run) for run in self._runs], axis=1)

    def _of_run(
        self, weights: np.ndarray, up: np.ndarray, down: np.ndarray, below: np.ndarray, at_most: np.ndarray
    ) -> np.ndarray:
        if not len(up) or not len(down):
            return np.full(len(weights), np.nan)
        positive = taken(weights, self._units.of_examples(up))
        running = _running(taken(weights, self._units.of_examples(down)))
        won = running.take(below, axis=1)
        if not np.array_equal(below, at_most):
            won = (won + running.take(at_most, axis=1)) / 2
        pairs = positive.sum(axis=1) * running[:, -1]
        return np.asarray(np.einsum("ij,ij->i", positive, won) / pairs)

    def influence(self) -> np.ndarray:
        """Return [runs, units]: the derivative by a unit's weight, times the number of examples.

        An example's part of the pairs that it wins, less AUROC, over the part of its class (DeLong et al. 1988).
        """
        value = self(np.ones((1, self._units.count)))[0]
        rows = np.zeros((len(self._runs), self._units.examples))
        for row, auroc, (up, down, below, at_most) in zip(rows, value, self._runs, strict=True):
            row[up] = ((below + at_most) / 2 / len(down) - auroc) * len(row) / len(up)
            lost = [np.bincount(each, minlength=len(down) + 1)[: len(down)].cumsum() for each in (below, at_most)]
            row[down] = (1 - (lost[0] + lost[1]) / 2 / len(up) - auroc) * len(row) / len(down)
        return self._units.summed(rows.T).T


class AveragePrecision(Computed):
    """Average precision; equal outputs are one threshold. Undefined where no label is 1."""

    def __init__(self, checked: Checked, units: Units) -> None:
        self._runs, self._units, self._orders = [], units, []
        for outputs in checked.outputs:
            order = np.argsort(-outputs, kind="stable")
            self._orders.append((order, checked.labels[order] == 1))
            positive = checked.labels[order] == 1
            bounds = _bounds(outputs[order])
            hits = np.append(0, np.cumsum(positive))[bounds]  # of positives before each bound
            held = np.flatnonzero(np.diff(hits))  # the groups with a positive: no other changes recall
            self._runs.append(
                (
                    units.of_examples(order), units.of_examples(order[positive]),
                    bounds[held + 1], hits[held], hits[held + 1],
                )
            )  # fmt: skip

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return the metric [resamples, runs] by weights [resamples, units]."""
        by_run = []
        for every, positives, ends, first, last in self._runs:
            positive = _running(taken(weights, positives))
            hits = positive.take(last, axis=1)
            predicted = _running(taken(weights, every)).take(ends, axis=1)
            precision = hits / np.where(predicted > 0, predicted, 1)
            gained = hits - positive.take(first, axis=1)
            by_run.append(np.einsum("ij,ij->i", gained, precision) / positive[:, -1])
        return np.stack(by_run, axis=1)

    def influence(self) -> np.ndarray:
        """Return [runs, units]: the derivative by a unit's weight, times the number of examples.

        An example more changes the precision p = TP / N of every threshold that it is above, by (y - p) / N; a positive
        one also adds its own threshold's precision to the mean.
        """
        rows = np.zeros((len(self._runs), self._units.examples))
        for row, (order, is_positive), (_, _, ends, first, last) in zip(rows, self._orders, self._runs, strict=True):
            if not len(last):  # no label is 1
                row[:] = np.nan
                continue
            positives, gained = last[-1], last - first
            precision = last / ends
            value = (gained * precision).sum() / positives
            above = np.searchsorted(ends, np.arange(len(row)), side="right")  # the first threshold that includes each
            later = [np.append(np.cumsum(each[::-1])[::-1], 0) for each in (gained / ends, gained * precision / ends)]
            moved = is_positive * later[0][above] - later[1][above]
            moved[is_positive] += np.repeat(precision, gained) - value
            row[order] = moved * len(row) / positives
        return self._units.summed(rows.T).T


class Spearman(Computed):
    """Spearman's rho: Pearson r of mean ranks. Undefined where labels or predictions are constant."""

    def __init__(self, checked: Checked, units: Units) -> None:
        self._labels = _Ranked(checked.labels, units)
        self._runs = [_Ranked(run, units) for run in checked.outputs]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return the metric [resamples, runs] by weights [resamples, units]."""
        label_rank, label_squares, _ = self._labels(weights)
        by_run = []
        for run in self._runs:
            rank, squares, of_examples = run(weights)
            moved = rank.take(run.group, axis=1) if run.tied else rank
            moved *= of_examples
            covariance = np.einsum("ij,ij->i", moved, label_rank.take(self._labels.group_of[run.order], axis=1))
            rho = covariance / (np.sqrt(squares) * np.sqrt(label_squares))
            by_run.append(np.clip(rho, -1, 1))
        return np.stack(by_run, axis=1)


class _Ranked:
    """Values [n], sorted once."""

    def __init__(self, values: np.ndarray, units: Units) -> None:
        self.order = np.argsort(values, kind="stable")
        self._bounds = _bounds(values[self.order])
        self.group = np.repeat(np.arange(len(self._bounds) - 1), np.diff(self._bounds))  # in sorted order
        self.group_of = np.empty(len(values), dtype=np.int64)
        self.group_of[self.order] = self.group
        self.tied = len(self._bounds) <= len(values)
        self._units = units.of_examples(self.order)

    def __call__(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return centred mean ranks [resamples, groups], their sum of squares, and the weights in sorted order.

        Ranks of constant values are exactly 0 wherever there is weight, so that rho is 0 / 0.
        """
        of_examples = taken(weights, self._units)
        running = _running(of_examples)
        total = running[:, -1:].copy()
        if self.tied:
            running = running.take(self._bounds, axis=1)
        low, high = running[:, :-1], running[:, 1:]
        rank = low + high
        rank -= total
        rank /= 2
        squares = np.einsum("ij,ij->i", (high - low) * rank, rank)
        return rank, squares, of_examples
