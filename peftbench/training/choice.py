"""A fixed random choice of rows: the same one in every run, whatever its seed."""

from __future__ import annotations

import numpy as np
import torch

from peftbench.seeds import generator


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


def limited_rows(task: str, count: int, limit: int | None) -> np.ndarray:
    """Return the rows of a task's training split that `train.limit_examples` leaves."""
    return fixed_rows("limit-examples", task, count, limit)
