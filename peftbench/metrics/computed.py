"""What computes a metric from weights, in whatever way."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class Computed(ABC):
    """A metric of several runs as a function of the weights of units."""

    at_once = 2**17  # weights to be given at once, 1 MB: temporary arrays stay in the processor's cache

    @abstractmethod
    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return the metric [resamples, runs] by weights [resamples, units] of float64; NaN where it is undefined."""

    def influence(self) -> np.ndarray | None:
        """Return [runs, units]: the derivative by a unit's weight at weights of 1, times the number of examples."""
        return None
