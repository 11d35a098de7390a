"""Evaluation: length-sorted batches, results in the original order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from peftbench.data.batches import MakeBatch, sorted_batches
from peftbench.data.encode import EncodedSplit
from peftbench.model import MultitaskModel
from peftbench.tasks import TaskSpec
from peftbench.training.choice import fixed_rows
from peftbench.training.metrics import Metric, loss_of, predict, score


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One task on one split: its metric, mean loss, and a prediction for every row scored."""

    metric: Metric
    loss: float
    rows: np.ndarray
    predictions: np.ndarray


@torch.inference_mode()
def logits_of(
    model: MultitaskModel,
    split: EncodedSplit,
    rows: np.ndarray,
    batch_size: int,
    batcher: MakeBatch,
    on_batch: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Return the active task's logits of the given rows, `[n, outputs]`, in the order of `rows`."""
    model.eval()
    found: np.ndarray | None = None
    done = 0
    for places in sorted_batches(split.lengths[rows], batch_size):
        batch = batcher(split, rows[places])
        logits = model(batch).float().cpu().numpy()
        if found is None:
            found = np.empty((len(rows), logits.shape[1]), dtype=np.float32)
        found[places] = logits
        done += len(places)
        on_batch(done)
    assert found is not None, "no rows to evaluate"
    return found


def evaluate(
    model: MultitaskModel,
    task: TaskSpec,
    split: EncodedSplit,
    rows: np.ndarray,
    batch_size: int,
    batcher: MakeBatch,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Score a task on the given rows of a split, with its adapters active."""
    model.switch_mode(task.name)
    logits = logits_of(model, split, rows, batch_size, batcher, on_batch)
    labels = split.labels[rows]
    predictions = predict(task, logits)
    loss = float(loss_of(task, torch.from_numpy(logits), torch.from_numpy(labels.astype(np.float32))))
    return Evaluation(score(task, predictions, labels), loss, rows, predictions)


def train_sample(task: str, count: int, size: int) -> np.ndarray:
    """Return the training rows that are scored after each epoch: the same ones in every run, sorted."""
    return fixed_rows("train-sample", task, count, size)
