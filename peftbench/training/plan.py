"""The number of optimiser steps of each task, per epoch and over the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Self

from peftbench.spec.model import TrainSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a run, determined by its spec and the size of its data.

    per_epoch: steps per full epoch, by task.
    epochs: number of epochs: with `most`, the last is that in which every task has reached its maximum.
    epochs_asked: as in the spec.
    most: maximum steps of each task over the run.
    """

    per_epoch: Mapping[str, int]
    epochs: int
    epochs_asked: int
    most: int | None

    @classmethod
    def of(cls, train: TrainSpec, examples: Mapping[str, int]) -> Self:
        """Return the plan for a number of training examples of each task."""
        size = train.batch_size * train.accumulation_steps
        per_epoch = {task: ceil(count / size) for task, count in examples.items()}
        epochs = train.epochs
        if train.max_steps is not None:
            epochs = min(epochs, max(ceil(train.max_steps / steps) for steps in per_epoch.values()))
        return cls(per_epoch, epochs, train.epochs, train.max_steps)

    def steps(self, task: str, epoch: int) -> int:
        """Return a task's steps in an epoch, counted from 1."""
        return self._until(task, epoch) - self._until(task, epoch - 1)

    def total_of(self, task: str) -> int:
        """Return a task's steps over the run."""
        return self._until(task, self.epochs)

    @property
    def total(self) -> int:
        """All steps of the run."""
        return sum(map(self.total_of, self.per_epoch))

    def shortened(self) -> str | None:
        """Return why there are fewer epochs than in the spec; None where there are not."""
        if self.epochs == self.epochs_asked:
            return None
        return f"train.max_steps: every task has reached its {self.most} steps"

    def _until(self, task: str, epoch: int) -> int:
        steps = epoch * self.per_epoch[task]
        return steps if self.most is None else min(steps, self.most)
