"""Is the difference between two runs on the same dev examples more than chance? One seed each.

What is resampled is the examples, in pairs: both runs are scored on the same resample. The spread between
seeds is not in these intervals, and a verdict from them must say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from peftbench.store.rows import Prediction

if TYPE_CHECKING:
    import numpy as np

Verdict = Literal["better", "worse", "no detectable difference"]

RESAMPLES = 2000
_CHUNK = 250
_SEED = 20_402


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """A metric's difference, other less baseline, with its 95 % paired bootstrap interval.

    `mcnemar_p` is the exact two-sided p-value of McNemar's test; only for accuracy.
    """

    task: str
    metric: str
    examples: int
    difference: float
    low: float
    high: float
    mcnemar_p: float | None

    @property
    def verdict(self) -> Verdict:
        """What the interval says: a difference only where zero lies outside."""
        if self.mcnemar_p is not None and self.mcnemar_p > 0.05:
            return "no detectable difference"  # too few discordant pairs for the interval to be trusted
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no detectable difference"


def paired_difference(
    task: str, metric: str, baseline: Sequence[Prediction], other: Sequence[Prediction]
) -> PairedDifference | None:
    """Compare two runs' predictions of the same examples.

    Returns:
        None where the examples are not the same, or the metric does not exist for one of the runs.
    """
    by_id = {row.example_id: row for row in other}
    if (
        not baseline
        or len(by_id) != len(baseline)
        or any(row.example_id not in by_id or by_id[row.example_id].label != row.label for row in baseline)
    ):
        return None
    labels = [row.label for row in baseline]
    pairs = [(row.prediction, by_id[row.example_id].prediction) for row in baseline]
    if metric == "accuracy":
        return _accuracy(task, labels, pairs)
    return _pearson(task, labels, pairs)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value for the discordant counts (McNemar 1947; binomial, p = 1/2)."""
    n, k = only_first + only_second, min(only_first, only_second)
    term = tail = 1  # exact: binomial coefficients, each from the one before
    for i in range(k):
        term = term * (n - i) // (i + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << n))


def _accuracy(task: str, labels: Sequence[float], pairs: Sequence[tuple[float, float]]) -> PairedDifference:
    import numpy as np

    n = len(labels)
    lost = sum(a == y != b for y, (a, b) in zip(labels, pairs, strict=True))
    won = sum(b == y != a for y, (a, b) in zip(labels, pairs, strict=True))
    # A resample of pairs needs only how many of each kind it holds.
    drawn = np.random.default_rng(_SEED).multinomial(n, [won / n, lost / n, 1 - (won + lost) / n], RESAMPLES)
    low, high = np.percentile((drawn[:, 0] - drawn[:, 1]) / n, (2.5, 97.5))
    return PairedDifference(task, "accuracy", n, (won - lost) / n, float(low), float(high), mcnemar_exact(won, lost))


def _pearson(task: str, labels: Sequence[float], pairs: Sequence[tuple[float, float]]) -> PairedDifference | None:
    import numpy as np

    y, x = np.asarray(labels), np.asarray(pairs).T
    if len(y) < 3 or np.ptp(y) == 0 or any(np.ptp(row) == 0 for row in x):
        return None
    rng = np.random.default_rng(_SEED)
    differences = []
    for _ in range(RESAMPLES // _CHUNK):
        rows = rng.integers(0, len(y), (_CHUNK, len(y)))
        first, second = (_rowwise_r(values[rows], y[rows]) for values in x)
        differences.append(second - first)
    sampled = np.concatenate(differences)
    sampled = sampled[np.isfinite(sampled)]  # a resample of equal values has no r
    if not len(sampled):  # differences too small to square
        return None
    low, high = np.percentile(sampled, (2.5, 97.5))
    r = _rowwise_r(x, np.broadcast_to(y, x.shape))
    if not np.isfinite(r).all():
        return None
    return PairedDifference(task, "pearson", len(y), float(r[1] - r[0]), float(low), float(high), None)


def _rowwise_r(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Pearson's r of each row of x with the same row of y; NaN where one is constant."""
    import numpy as np

    x = x - x.mean(axis=1, keepdims=True)
    y = y - y.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore", under="ignore"):
        x = x / np.abs(x).max(axis=1, keepdims=True)  # r knows no scale, and tiny squares would vanish
        y = y / np.abs(y).max(axis=1, keepdims=True)
        r = (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return np.asarray(np.clip(r, -1, 1))
