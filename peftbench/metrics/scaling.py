"""Values brought to a size at which they can be squared, and to their mean."""

from __future__ import annotations

import numpy as np


def unit_scale(values: np.ndarray) -> float:
    """Return the power of two that brings the largest of |values| near 1: division by it is exact."""
    largest = float(np.abs(values).max()) if values.size else 0.0
    return float(np.ldexp(1.0, int(np.clip(np.frexp(largest)[1], -1000, 1022)))) if largest else 1.0


def standard(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows with mean 0 and mean square 1, and what they were divided by, [rows]; zeros where constant."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    largest = np.where(largest > 0, largest, 1.0)
    rows = rows / largest
    root = np.sqrt((rows * rows).mean(axis=1, keepdims=True))
    root = np.where(root > 0, root, 1.0)
    return rows / root, (largest * root)[:, 0]


def centred(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values [n] less their weighted mean, over the largest of these, [resamples, n], and that, [resamples].

    Values that are constant where weights [resamples, n] are not 0 become NaN. The mean is subtracted twice, so that
    small differences of large values keep their digits.
    """
    present, total = weights > 0, weights.sum(axis=1, keepdims=True)
    highest = np.where(present, values, -np.inf).max(axis=1, keepdims=True)
    constant = highest <= np.where(present, values, np.inf).min(axis=1, keepdims=True)
    moved = np.where(present, values - highest, 0.0)
    for _ in range(2):
        moved = np.where(present, moved - (weights * moved).sum(axis=1, keepdims=True) / total, 0.0)
    scale = np.where(constant, np.nan, np.abs(moved).max(axis=1, keepdims=True))
    return moved / scale, scale[:, 0]
