"""Evaluation: length-sorted batches, results in the original order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from peftbench.data.batches import MakeBatch, sorted_batches
from peftbench.data.encode import EncodedSplit
from peftbench.data.standardise import AS_IT_IS, LabelScale
from peftbench.metrics.value import Metric
from peftbench.model import MultitaskModel
from peftbench.tasks import TaskSpec
from peftbench.training.metrics import loss_of, predict, probabilities, score, score_tags
from peftbench.training.sampling import fixed_rows
from peftbench.training.threshold import tuned


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One task on one split: its metric, mean loss, and the scored rows with their logits and predictions.

    predictions: `[n]`, of a regression in the data's units; of several labels `[n, labels]`; of token tasks `[read]`,
    each word that the model reads.
    logits: `[n, outputs]`, or `[read, outputs]`. probabilities: see `metrics.probabilities`. threshold: that of the
    predictions.
    """

    metric: Metric
    loss: float
    rows: np.ndarray
    predictions: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray | None
    threshold: float = 0.5


@torch.inference_mode()
def logits_of(
    model: MultitaskModel,
    split: EncodedSplit,
    rows: np.ndarray,
    batch_size: int,
    batcher: MakeBatch,
    on_batch: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Return the active task's logits for the given rows, `[n, outputs]`, in the order of `rows`.

    Of token tasks it is a row for each word that the model reads, `[read, outputs]`.
    """
    model.eval()
    all_logits: np.ndarray | None = None
    ends = None if split.words is None else np.cumsum(split.words.count_read(rows))
    done = 0
    for positions in sorted_batches(split.lengths[rows], batch_size):
        batch = batcher(split, rows[positions])
        logits = model(batch).float().cpu().numpy()
        if all_logits is None:
            all_logits = np.empty((len(rows) if ends is None else ends[-1], logits.shape[1]), dtype=np.float32)
        all_logits[positions if ends is None else _of_words(ends, positions)] = logits
        done += len(positions)
        on_batch(done)
    assert all_logits is not None, "no rows to evaluate"
    return all_logits


def _of_words(ends: np.ndarray, sentences: np.ndarray) -> np.ndarray:
    """Return the indices of the words of sentences, whose words end before `ends`, one sentence after another."""
    return np.concatenate([np.arange(ends[each - 1] if each else 0, ends[each]) for each in sentences])


def evaluate(
    model: MultitaskModel,
    task: TaskSpec,
    split: EncodedSplit,
    rows: np.ndarray,
    batch_size: int,
    batcher: MakeBatch,
    on_batch: Callable[[int], None] = lambda done: None,
    scale: LabelScale = AS_IT_IS,
    threshold: float | None = 0.5,
) -> Evaluation:
    """Score a task on the given rows of a split, with its adapters switched on.

    Args:
        model, task, split, rows, batch_size, batcher, on_batch: see `logits_of`.
        scale: of a regression's labels. The loss is of standardised labels, the metric of the data's units.
        threshold: above which probability a label is predicted; None: it is tuned on these rows.
    """
    model.switch_mode(task.name)
    logits = logits_of(model, split, rows, batch_size, batcher, on_batch)
    labels = split.labels[rows] if split.words is None else split.words.read(rows)[2]
    of_labels = probabilities(task, logits)
    if threshold is None:
        assert of_labels is not None, f"a task of kind {task.kind} has no threshold"
        threshold = tuned(task, of_labels, labels)
    predictions = scale.restored(predict(task, logits, threshold))
    loss = float(loss_of(task, torch.from_numpy(logits), torch.from_numpy(labels.astype(np.float32))))
    if split.words is None:
        metric = score(task, predictions, labels if split.unscaled is None else split.unscaled[rows], of_labels)
    else:
        metric = score_tags(task, split.words, rows, predictions)
    return Evaluation(metric, loss, rows, predictions, logits, of_labels, threshold)


def with_threshold(evaluation: Evaluation, task: TaskSpec, split: EncodedSplit, threshold: float) -> Evaluation:
    """Return an evaluation of a task with a threshold as it is with another one."""
    predictions = predict(task, evaluation.logits, threshold)
    metric = score(task, predictions, split.labels[evaluation.rows], evaluation.probabilities)
    return replace(evaluation, metric=metric, predictions=predictions, threshold=threshold)


def train_sample(task: str, count: int, size: int) -> np.ndarray:
    """Return the training rows scored after each epoch: the same in every run, sorted."""
    return fixed_rows("train-sample", task, count, size)
