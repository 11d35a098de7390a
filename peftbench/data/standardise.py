"""Labels of regression tasks in standard deviations from the training mean: what the model learns.

A head starts near zero and its learning rate is that of classification heads: labels in the hundreds would not be
reached. Predictions are reported in the data's units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from peftbench.data.encode import EncodedSplit
from peftbench.errors import DataError
from peftbench.tasks import TaskSpec


@dataclass(frozen=True, slots=True)
class LabelScale:
    """Mean and standard deviation of the training labels, in the data's units."""

    mean: float = 0.0
    sd: float = 1.0

    def standardised(self, split: EncodedSplit) -> EncodedSplit:
        """Return a split whose labels are in standard deviations from the mean."""
        return replace(split, labels=(split.labels - self.mean) / self.sd, unscaled=split.labels)

    def restored(self, values: np.ndarray) -> np.ndarray:
        """Return predictions in the data's units."""
        return values if self == AS_IT_IS else np.asarray(values * self.sd + self.mean)


AS_IT_IS = LabelScale()


def scale_of(task: TaskSpec, labels: np.ndarray) -> LabelScale:
    """Return the scale of a task's training labels [n]; mean 0 and deviation 1 for other kinds than regression.

    Raises:
        DataError: the labels are all the same.
    """
    if task.kind != "regression":
        return AS_IT_IS
    values = labels.astype(np.float64)
    sd = float(values.std())
    if sd == 0 or not np.isfinite(sd):
        problem = f"all training labels are {values[0]:g}" if sd == 0 else "the training labels are too large"
        raise DataError(f"task {task.name}: {problem}: there is nothing to learn by regression")
    return LabelScale(float(values.mean()), sd)


def recorded_scale(task: TaskSpec, conditions: Mapping[str, Any]) -> LabelScale:
    """Return the scale that a run recorded in its conditions.

    Raises:
        DataError: it recorded none for a regression task.
    """
    stored = (conditions.get("label_scale") or {}).get(task.name)
    if stored is None and task.kind == "regression":
        raise DataError(f"task {task.name}: the run has no record of its labels' mean and deviation")
    return AS_IT_IS if stored is None else LabelScale(*stored)
