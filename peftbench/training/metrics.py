"""A task's loss, its prediction from logits, and its metric."""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from peftbench.data.words import Words
from peftbench.metrics import METRICS
from peftbench.metrics.value import Metric, value
from peftbench.tasks import TaskSpec

DECIMALS = 7  # of probabilities


def loss_of(task: TaskSpec, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of a batch: cross entropy, BCE with logits, or MSE on the raw score.

    Args:
        task: its kind determines the loss.
        logits: `[batch, outputs]`.
        labels: `[batch]`, class indices and 0/1 as floats too; of kind 'multilabel' `[batch, labels]`.

    Of kind 'tokens' it is the mean over words: `[words, tags]` and `[words]`; 0 where the model reads none.
    """
    if task.kind in ("classes", "tokens"):
        return F.cross_entropy(logits, labels.long()) if len(labels) else logits.sum()
    if task.kind == "multilabel":
        return F.binary_cross_entropy_with_logits(logits, labels)
    if task.kind == "binary":
        return F.binary_cross_entropy_with_logits(logits.squeeze(-1), labels)
    return F.mse_loss(logits.squeeze(-1), labels)


def predict(task: TaskSpec, logits: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Return the predicted class, 0/1 or score of each row of logits `[n, outputs]`; of several labels 0/1 of each.

    `threshold`: of kinds 'binary' and 'multilabel', the probability above which a label is predicted.
    """
    if threshold != 0.5:
        of_labels = probabilities(task, logits)
        assert of_labels is not None, f"a task of kind {task.kind} has no threshold"
        return np.asarray(of_labels > threshold, dtype=np.float64)
    if task.kind == "multilabel":
        return np.asarray(logits > 0, dtype=np.float64)
    if task.kind in ("classes", "tokens"):
        return np.asarray(logits.argmax(axis=1), dtype=np.float64)
    if task.kind == "binary":
        return np.asarray(logits[:, 0] > 0, dtype=np.float64)
    return np.asarray(logits[:, 0], dtype=np.float64)


def probabilities(task: TaskSpec, logits: np.ndarray) -> np.ndarray | None:
    """Return the probability of label 1 `[n]`, of each class or of each label `[n, outputs]`; None without classes.

    Rounded to seven decimals, as they are stored: a metric is of the same figures then and later.
    """
    if task.is_score or task.kind == "tokens":
        return None
    values = logits.astype(np.float64)
    if task.kind == "classes":
        values = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(np.round(values / values.sum(axis=1, keepdims=True), DECIMALS))
    with np.errstate(over="ignore"):
        of_one = np.round(1 / (1 + np.exp(-values)), DECIMALS)
    return np.asarray(of_one if task.kind == "multilabel" else of_one[:, 0])


def label_sets(chosen: np.ndarray) -> list[tuple[int, ...]]:
    """Return the indices of the labels that each row of 0/1 `[n, labels]` has: the form of the store."""
    return [tuple(map(int, np.flatnonzero(row))) for row in chosen]


def score(task: TaskSpec, predictions: np.ndarray, labels: np.ndarray, of_labels: np.ndarray | None = None) -> Metric:
    """Return the headline metric of predictions against labels, `[n]` or `[n, labels]`; undefined if not all finite.

    `of_labels`: probabilities, for metrics that are computed from them.
    """
    if METRICS[task.headline].of_probabilities:
        assert of_labels is not None, f"{task.headline} needs probabilities"
        return value(task.headline, labels, of_labels)
    if (missing := _not_finite(predictions, labels)) is not None:
        return Metric(task.headline, None, missing)
    if task.headline == "accuracy":
        return Metric("accuracy", float(np.mean(predictions == labels)))
    if task.headline == "pearson":
        return pearson(predictions, labels)
    return value(task.headline, labels, predictions)


def score_tags(task: TaskSpec, words: Words, rows: np.ndarray, predictions: np.ndarray) -> Metric:
    """Return the headline metric of a token task on these sentences.

    Args:
        task: the task.
        words: of a split, with the labels' tags.
        rows: the sentences.
        predictions: `[read]`, the tag of each of their words that the model reads; the others count as `O`.
    """
    return value(task.headline, words.named(words.of(rows)), words.named(words.tagged(rows, predictions)))


def pearson(x: np.ndarray, y: np.ndarray) -> Metric:
    """Return Pearson's r in float64. It is undefined where x or y is constant, or not finite."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    if (missing := _not_finite(x, y)) is not None:
        return Metric("pearson", None, missing)
    if len(x) < 2:
        return Metric("pearson", None, "fewer than two examples")
    if np.ptp(x) == 0:
        return Metric("pearson", None, "constant predictions")
    if np.ptp(y) == 0:
        return Metric("pearson", None, "constant labels")
    x, y = x - x.mean(), y - y.mean()
    with np.errstate(over="ignore", invalid="ignore"):
        spread = float(np.sqrt(x @ x) * np.sqrt(y @ y))
        r = float(x @ y) / spread if spread else math.nan
    if spread == 0:  # differences too small to square
        return Metric("pearson", None, "constant predictions")
    if not (math.isfinite(r) and math.isfinite(spread)):
        return Metric("pearson", None, "predictions too large to square")
    return Metric("pearson", max(-1.0, min(1.0, r)))


def _not_finite(predictions: np.ndarray, labels: np.ndarray) -> str | None:
    """Describe how many predictions or labels are infinite or NaN; None where all are finite."""
    for what, values in (("predictions", predictions), ("labels", labels)):
        count = int(np.sum(~np.isfinite(values)))
        if count:
            return f"{count:,} of {len(values):,} {what} are not finite numbers"
    return None
