"""Made-up labels and outputs for tests of metrics, and the metrics as scikit-learn, scipy and seqeval compute them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy import stats
from seqeval import metrics as seqeval
from sklearn import metrics as sklearn

from peftbench.metrics.registry import METRICS

NAN = math.nan
TAGS = ("O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "E-Y", "S-Y", "B", "I")


def ece_in_a_loop(labels: np.ndarray, outputs: np.ndarray) -> float:
    """Guo et al. 2017, equation 3, bin by bin."""
    rows = np.stack([1 - outputs, outputs], axis=1) if outputs.ndim == 1 else outputs
    total = 0.0
    for at in range(15):
        held = [row for row in range(len(labels)) if at / 15 < rows[row].max() <= (at + 1) / 15]
        if held:
            right = np.mean([rows[row].argmax() == labels[row] for row in held])
            total += len(held) / len(labels) * abs(right - np.mean([rows[row].max() for row in held]))
    return total


def _f1(average: str) -> Callable[[Any, Any], float]:
    return lambda y, p: sklearn.f1_score(y, p, average=average, zero_division=NAN)


def _correlation(of: Callable[..., Any]) -> Callable[[Any, Any], float]:
    return lambda y, p: of(y, p).statistic if np.ptp(y) and np.ptp(p) else NAN


REFERENCE: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": sklearn.accuracy_score,
    "balanced_accuracy": sklearn.balanced_accuracy_score,
    "macro_f1": _f1("macro"),
    "micro_f1": _f1("micro"),
    "weighted_f1": lambda y, p: _f1("weighted")(y, p) if np.ndim(y) == 1 or np.any(y) else NAN,
    "f1": _f1("binary"),
    "mcc": lambda y, p: sklearn.matthews_corrcoef(y, p) if np.ptp(y) and np.ptp(p) else NAN,
    "cohen_kappa": lambda y, p: NAN if np.ptp([*y, *p]) == 0 else sklearn.cohen_kappa_score(y, p),
    "auroc": lambda y, p: sklearn.roc_auc_score(y, p) if np.ptp(y) else NAN,
    "average_precision": lambda y, p: sklearn.average_precision_score(y, p) if np.any(y) else NAN,
    "brier": lambda y, p: sklearn.brier_score_loss(y, p, labels=range(p.shape[1] if p.ndim == 2 else 2)),
    "ece": ece_in_a_loop,
    "pearson": _correlation(stats.pearsonr),
    "spearman": _correlation(stats.spearmanr),
    "r2": lambda y, p: sklearn.r2_score(y, p) if np.ptp(y) else NAN,
    "mae": sklearn.mean_absolute_error,
    "rmse": sklearn.root_mean_squared_error,
    "span_f1": lambda y, p: seqeval.f1_score(y, p, zero_division=0),
    "span_precision": lambda y, p: seqeval.precision_score(y, p, zero_division=0),
    "span_recall": lambda y, p: seqeval.recall_score(y, p, zero_division=0),
    "token_accuracy": seqeval.accuracy_score,
    "exact_match": sklearn.accuracy_score,
}


def reference(name: str, labels: Any, outputs: Any) -> float:
    """Return a metric as others compute it; NaN where it is undefined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(REFERENCE[name](labels, outputs))


def forms() -> list[tuple[str, str]]:
    """Each metric with each form of its inputs."""
    shapes = {"probabilities": ("binary", "of classes")}
    return [
        (name, shape)
        for name, info in METRICS.items()
        for given in info.inputs
        for shape in (("binary",) if name in ("auroc", "average_precision") else shapes.get(given, (given,)))
    ]


def drawn(name: str, shape: str, rng: np.random.Generator, n: int, runs: int = 1) -> tuple[Any, Any]:
    """Return labels of n examples and outputs of runs that agree with them more or less; many values are tied."""
    if shape == "spans":
        labels = [list(rng.choice(TAGS, rng.integers(1, 6))) for _ in range(n)]
        wrong = 0.3
        outputs = [
            [[str(rng.choice(TAGS)) if rng.random() < wrong else tag for tag in row] for row in labels]
            for _ in range(runs)
        ]
        return [[str(tag) for tag in row] for row in labels], outputs
    if shape == "indicator":
        truth = rng.random((n, 4)) < [0.5, 0.3, 0.1, 0.02]
        return truth.astype(int), (truth ^ (rng.random((runs, n, 4)) < 0.2)).astype(int)
    if shape == "scores":
        truth = np.round(rng.normal(size=n), 1)
        return truth, np.round(truth + rng.normal(size=(runs, n)), 1)
    if shape == "of classes":
        odds = np.round(rng.random((runs, n, 4)), 1) + 0.01
        return rng.integers(0, 4, n), odds / odds.sum(axis=2, keepdims=True)
    if shape == "binary":
        truth = rng.integers(0, 2, n)
        return truth, np.clip(np.round(truth * 0.2 + rng.random((runs, n)) * 0.8, 1), 0, 1)
    classes = 2 if name == "f1" else 5
    truth = rng.integers(0, classes, n)
    return truth, np.where(rng.random((runs, n)) < 0.6, truth, rng.integers(0, classes, (runs, n)))


def repeated(values: Any, counts: np.ndarray) -> Any:
    """Repeat rows as often as `counts` say."""
    if isinstance(values, np.ndarray):
        return np.repeat(values, counts, axis=0)
    return [row for row, count in zip(values, counts, strict=True) for _ in range(count)]


def pairs_of(values: st.SearchStrategy[Any], most: int = 12) -> st.SearchStrategy[list[tuple[Any, Any]]]:
    """Labels and outputs of 1 to `most` examples."""
    return st.lists(st.tuples(values, values), min_size=1, max_size=most)
