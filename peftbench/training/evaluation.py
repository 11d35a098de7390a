"""Evaluation: length-sorted batches, results in the original order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from peftbench.data.batches import MakeBatch, sorted_batches
from peftbench.data.encode import EncodedSplit
from peftbench.metrics.value import Metric
from peftbench.model import MultitaskModel
from peftbench.tasks import TaskSpec
from peftbench.training.metrics import loss_of, predict, probabilities, score, score_tags
from peftbench.training.sampling import fixed_rows


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One task on one split: its metric, mean loss, and the scored rows with their logits and predictions.

    predictions: `[n]`; of several labels `[n, labels]`; of token tasks `[read]`, each word that the model reads.
    logits: `[n, outputs]`, or `[read, outputs]`. probabilities: see `metrics.probabilities`.
    """

    metric: Metric
    loss: float
    rows: np.ndarray
    predictions: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray | None


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
) -> Evaluation:
    """Score a task on the given rows of a split, with its adapters switched on."""
    model.switch_mode(task.name)
    logits = logits_of(model, split, rows, batch_size, batcher, on_batch)
    labels = split.labels[rows] if split.words is None else split.words.read(rows)[2]
    predictions, of_labels = predict(task, logits), probabilities(task, logits)
    loss = float(loss_of(task, torch.from_numpy(logits), torch.from_numpy(labels.astype(np.float32))))
    if split.words is None:
        metric = score(task, predictions, labels, of_labels)
    else:
        metric = score_tags(task, split.words, rows, predictions)
    return Evaluation(metric, loss, rows, predictions, logits, of_labels)


def train_sample(task: str, count: int, size: int) -> np.ndarray:
    """Return the training rows scored after each epoch: the same in every run, sorted."""
    return fixed_rows("train-sample", task, count, size)
