"""Selection of rows: those of each step, by the run's seed; and fixed random subsets, the same for all seeds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch

from peftbench.data.batches import bucketed_batches, random_batches
from peftbench.seeds import generator
from peftbench.spec.model import RunSpec


def fixed_rows(use: str, task: str, count: int, size: int | None) -> np.ndarray:
    """Return `size` of `count` rows, sorted; all of them where `size` is None or not smaller.

    Args:
        use: purpose of the selection; different purposes select independently.
        task: the task of the rows.
        count: number of rows.
        size: number of rows to select.
    """
    if size is None or size >= count:
        return np.arange(count)
    order = torch.randperm(count, generator=generator(0, use, task)).numpy()
    return np.sort(order[:size])


def step_rows(spec: RunSpec, epoch: int, task: str, lengths: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yield the rows of each optimiser step of an epoch, as batches; they are determined by the run's seed.

    Args:
        spec: the run's spec.
        epoch: counted from 1.
        task: the task of the rows.
        lengths: of its training examples in tokens, `[examples]`.
    """
    size, order = spec.train.batch_size, generator(spec.seed, "order", epoch, task)
    batches = (
        bucketed_batches(lengths, size, order)
        if spec.train.batching == "bucketed"
        else random_batches(len(lengths), size, order)
    )
    while step := list(islice(batches, spec.train.accumulation_steps)):
        yield step


def limited_rows(task: str, count: int, limit: int | None) -> np.ndarray:
    """Return the rows of a task's training split within `train.limit_examples`."""
    return fixed_rows("limit-examples", task, count, limit)
