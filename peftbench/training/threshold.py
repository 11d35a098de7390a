"""The probability above which a label is predicted: as the spec says, or tuned on the examples that choose the epoch.

One threshold a task. It is the one of `GRID` with the best headline metric; of equal ones the nearest to 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from peftbench.errors import DataError
from peftbench.metrics import sign_of
from peftbench.metrics.value import value
from peftbench.store.conditions import label_threshold

if TYPE_CHECKING:
    from peftbench.tasks import TaskSpec

GRID = np.arange(1, 100) / 100
Thresholds = dict[str, dict[str, float]]  # by task, by epoch as a text: as in a run's conditions


def fixed(task: TaskSpec) -> float:
    """Return the threshold that a task's spec gives; 0.5 before it is tuned."""
    return 0.5 if task.threshold == "tuned" else task.threshold


def tuned(task: TaskSpec, of_labels: np.ndarray, labels: np.ndarray) -> float:
    """Return the threshold with the best headline metric; 0.5 where none gives a value.

    Args:
        task: of kind 'binary' or 'multilabel'.
        of_labels: the probability of label 1 `[n]`, or of each label `[n, labels]`.
        labels: 0 or 1, in the same shape.
    """
    best, best_value = 0.5, -np.inf
    for threshold in sorted(GRID.tolist(), key=lambda each: abs(each - 0.5)):
        made = value(task.headline, labels, (of_labels > threshold).astype(np.float64)).value
        if made is not None and sign_of(task.headline) * made > best_value:
            best, best_value = threshold, sign_of(task.headline) * made
    return best


def threshold_of(task: TaskSpec, conditions: Mapping[str, Any], epoch: int) -> float:
    """Return the threshold of a run's epoch.

    Raises:
        DataError: it was tuned, and the run has no record of it.
    """
    recorded = label_threshold(conditions, task.name, task.threshold, epoch)
    if recorded is None:
        raise DataError(f"task {task.name}: the run has no record of the threshold that was tuned in epoch {epoch}")
    return recorded
