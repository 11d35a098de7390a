"""Resampling units: examples, or clusters of examples that are drawn together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Units:
    """The units of `examples` examples. `of` [examples]: each one's cluster index, from 0; None: units are examples."""

    examples: int
    of: np.ndarray | None = None

    @property
    def count(self) -> int:
        """The number of units."""
        return self.examples if self.of is None else int(self.of.max()) + 1

    def of_examples(self, order: np.ndarray | None = None) -> np.ndarray | None:
        """Return the unit of each example, in an order of examples; None where these are the units themselves."""
        if self.of is None or order is None:
            return self.of if order is None else order
        return np.asarray(self.of[order])

    def summed(self, columns: np.ndarray) -> np.ndarray:
        """Sum columns [examples, k] over the examples of each unit: [units, k]."""
        if self.of is None:
            return columns
        order = np.argsort(self.of, kind="stable")
        starts = np.searchsorted(self.of[order], np.arange(self.count))
        return np.asarray(np.add.reduceat(columns[order], starts, axis=0))

    def sizes(self) -> np.ndarray:
        """Return the number of examples of each unit, [units]."""
        return np.ones(self.examples) if self.of is None else np.bincount(self.of).astype(np.float64)


def taken(weights: np.ndarray, units: np.ndarray | None) -> np.ndarray:
    """Return the weights [resamples, units] of examples given by their units: [resamples, examples]."""
    return weights if units is None else weights.take(units, axis=1)
