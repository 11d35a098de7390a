"""Clustered examples: several rows of one document, author or source, which are not independent.

Examples of a cluster tend to be right or wrong together, more so for one method than for another, so that resampling
them one by one gives intervals that are too narrow. The bootstrap therefore draws whole clusters (Davison and Hinkley
1997, section 3.8; Field and Welsh 2007), and a metric is the ratio of two sums over those drawn: of its numerator, and
of the examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from peftbench.store.rows import Prediction

if TYPE_CHECKING:
    import numpy as np


def clusters_of(rows: Sequence[Prediction]) -> np.ndarray | None:
    """Return each example's cluster index, in order of first occurrence, [examples]; None where a row names none."""
    import numpy as np

    if any(row.cluster is None for row in rows):
        return None
    numbers: dict[str | None, int] = {}
    return np.asarray([numbers.setdefault(row.cluster, len(numbers)) for row in rows], int)


def summed(rows: np.ndarray, clusters: np.ndarray | None) -> np.ndarray:
    """Sum rows [..., examples] over each cluster, giving [..., clusters]; without clusters, return the rows."""
    import numpy as np

    if clusters is None:
        return rows
    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    return np.asarray(np.add.reduceat(rows[..., order], starts, axis=-1))


def count_of(clusters: np.ndarray | None, examples: int) -> int:
    """Return the number of resampling units: clusters, or without them examples."""
    return examples if clusters is None else int(clusters.max()) + 1
