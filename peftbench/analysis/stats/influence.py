"""The influence of each unit on a metric: what the degrees of freedom of an interval are estimated from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from peftbench.analysis.outputs import Values
from peftbench.analysis.stats.clusters import summed

if TYPE_CHECKING:
    import numpy as np

_AT_ONCE = 250  # changed weights at a time
_BUMP = 1e-4  # change of a weight, for a slope


def influences(metric: str, labels: Values, predictions: Values, clusters: np.ndarray | None = None) -> np.ndarray:
    """Return the influence of each unit on each run's metric, times the number of examples, [runs, units].

    In closed form where there is one. Of other metrics of classes, by a small change of the weight of each pair of
    label and prediction; Spearman's is that of Pearson r of the ranks, which leaves out that ranks move.
    """
    import numpy as np

    from peftbench.metrics.weighted import weighted

    exact = weighted(metric, labels, predictions, clusters).influence()
    if exact is not None:
        return exact
    if metric == "spearman":
        ranks = [np.unique(row, return_inverse=True)[1].astype(float) for row in (labels, *predictions)]
        closed = weighted("pearson", ranks[0], np.stack(ranks[1:]), clusters).influence()
        assert closed is not None
        return closed
    rows = []
    for own in predictions:
        pairs, at, counts = np.unique(np.stack([labels, own]), axis=1, return_inverse=True, return_counts=True)
        of_pairs = weighted(metric, pairs[0], pairs[1][None])  # each once, of several labels too
        base = of_pairs.values(counts[None].astype(float))[0, 0]
        moved = np.concatenate([of_pairs.values(rows_of)[:, 0] for rows_of in _bumped(counts)])
        slopes = (moved - base) / _BUMP * len(labels)
        rows.append((slopes - (slopes * counts).sum() / len(labels))[at.ravel()])
    return summed(np.stack(rows), clusters)


def _bumped(counts: np.ndarray) -> Iterator[np.ndarray]:
    """Yield counts [n] with one of them a little larger, each in turn, some rows at a time: [some, n]."""
    import numpy as np

    for start in range(0, len(counts), _AT_ONCE):
        rows = np.repeat(counts[None].astype(float), min(_AT_ONCE, len(counts) - start), axis=0)
        at = np.arange(len(rows))
        rows[at, start + at] += _BUMP
        yield rows
