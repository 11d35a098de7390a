"""Which rows: a step's, by the run's seed; and fixed random choices, the same in every run whatever its seed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch

from peftbench.data.batches import bucketed_batches, random_batches
from peftbench.seeds import generator
from peftbench.spec.model import RunSpec


def fixed_rows(use: str, task: str, count: int, size: int | None) -> np.ndarray:
    """Return `size` of `count` rows, sorted; all of them where there are no more, or `size` is None.

    Args:
        use: what they are chosen for; two uses do not choose alike.
        task: whose rows.
        count: how many there are.
        size: how many to choose.
    """
    if size is None or size >= count:
        return np.arange(count)
    order = torch.randperm(count, generator=generator(0, use, task)).numpy()
    return np.sort(order[:size])


def step_rows(spec: RunSpec, epoch: int, task: str, lengths: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yield the rows of each optimiser step of an epoch, batch by batch: the run's seed determines all of it.

    Args:
        spec: the run's.
        epoch: counted from 1.
        task: whose rows.
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
    """Return the rows of a task's training split that `train.limit_examples` leaves."""
    return fixed_rows("limit-examples", task, count, limit)
