"""Pearson r and R2 over weighted examples, from sums of squares and products.

The sums are of columns with mean 0 and mean square 1 over all examples. Where the values in a resample vary much less
than that (its examples lack the outliers), the difference of two sums would lose digits: these resamples are computed
from centred values, and whether values are constant is found out by comparing them.
"""

from __future__ import annotations

import numpy as np

from peftbench.metrics.computed import Computed
from peftbench.metrics.inputs import Checked
from peftbench.metrics.scaling import centred, standard, unit_scale
from peftbench.metrics.units import Units, taken

_LEAST = 1e-2  # least part of a mean square that must be variance


class Pearson(Computed):
    """Pearson r. Undefined where labels or predictions are constant."""

    def __init__(self, checked: Checked, units: Units) -> None:
        self._units = units
        self._labels = checked.labels / unit_scale(checked.labels)
        self._outputs = np.stack([run / unit_scale(run) for run in checked.outputs])
        self._x, self._y = standard(self._outputs)[0], standard(self._labels[None])[0]
        x, y = self._x, self._y
        self._columns = units.summed(np.concatenate([x, x * x, x * y, y, y * y, np.ones_like(y)]).T)

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return the metric [resamples, runs] by weights [resamples, units]."""
        sums, runs = weights @ self._columns, len(self._x)
        means = sums[:, :-1] / sums[:, -1:]
        x, xx, xy = (means[:, at * runs : (at + 1) * runs] for at in range(3))
        y, yy = means[:, -2:-1], means[:, -1:]
        of_x, of_y = xx - x * x, yy - y * y
        r = (xy - x * y) / np.sqrt(of_x * of_y)
        doubtful = ~((of_x >= _LEAST * xx) & (of_y >= _LEAST * yy) & np.isfinite(r))
        for run in np.flatnonzero(doubtful.any(axis=0)):
            rows = np.flatnonzero(doubtful[:, run])
            r[rows, run] = self._centred(int(run), weights[rows])
        return np.asarray(np.clip(r, -1, 1))

    def _centred(self, run: int, weights: np.ndarray) -> np.ndarray:
        if np.ptp(self._labels) == 0 or np.ptp(self._outputs[run]) == 0:
            return np.full(len(weights), np.nan)
        of_examples = taken(weights, self._units.of_examples())
        x, y = centred(self._outputs[run], of_examples)[0], centred(self._labels, of_examples)[0]
        squares = np.sqrt((of_examples * x * x).sum(axis=1)) * np.sqrt((of_examples * y * y).sum(axis=1))
        return np.asarray((of_examples * x * y).sum(axis=1) / squares)

    def influence(self) -> np.ndarray:
        """Return [runs, units]: the derivative by a unit's weight, times the number of examples."""
        x, y, r = self._x, self._y, self(np.ones((1, self._units.count))).T
        return np.asarray(self._units.summed((x * y - r * (x * x + y * y) / 2).T).T)


class R2(Computed):
    """R2. Undefined where labels are constant, or where errors are larger than labels beyond floating point."""

    def __init__(self, checked: Checked, units: Units) -> None:
        self._units = units
        labels, outputs = checked.labels, checked.outputs
        scale, label_scale = max(unit_scale(labels), unit_scale(outputs)), unit_scale(labels)
        errors = outputs / scale - labels / scale
        self._labels, self._errors = labels / label_scale, errors / unit_scale(errors)
        self._ratio = scale / label_scale * unit_scale(errors)  # of an error's unit to a label's
        y, spread = standard(self._labels[None])
        self._y, self._spread = y, spread[0]
        self._columns = units.summed(np.concatenate([self._errors**2, y, y * y, np.ones_like(y)]).T)

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return the metric [resamples, runs] by weights [resamples, units]."""
        sums = weights @ self._columns
        means = sums[:, :-1] / sums[:, -1:]
        error, y, yy = means[:, :-2], means[:, -2], means[:, -1]
        spread = (yy - y * y) * self._spread**2
        rows = np.flatnonzero(~(yy - y * y >= _LEAST * yy))
        if len(rows):
            spread[rows] = self._centred(weights[rows])
        r2 = 1 - error / spread[:, None] * self._ratio**2
        return np.where(np.isfinite(r2), r2, np.nan)

    def _centred(self, weights: np.ndarray) -> np.ndarray:
        if np.ptp(self._labels) == 0:
            return np.full(len(weights), np.nan)
        of_examples = taken(weights, self._units.of_examples())
        y, scale = centred(self._labels, of_examples)
        return np.asarray((of_examples * y * y).sum(axis=1) / of_examples.sum(axis=1) * scale**2)

    def influence(self) -> np.ndarray:
        """Return [runs, units]: the derivative by a unit's weight, times the number of examples."""
        value = self(np.ones((1, self._units.count))).T
        error = self._errors**2 * (self._ratio / self._spread) ** 2
        return self._units.summed(((1 - value) * self._y**2 - error).T).T
