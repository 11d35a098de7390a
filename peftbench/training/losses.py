"""The training loss: averaged over a few steps, with detection of NaN and infinity."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor

from peftbench.errors import TrainingError
from peftbench.spec.model import RunSpec

LOSS_EVERY = 20  # steps averaged into one point of the loss curve


def diverged(what: str, spec: RunSpec, rates: str) -> TrainingError:
    """Return the error for a loss that is not finite, with advice.

    Args:
        what: which loss, of which task, at which step.
        spec: the run's spec.
        rates: the learning rates at that step.
    """
    lr = spec.train.lr
    hint = f"the learning rate, {rates} at that step, is probably too high: --set train.lr={lr / 10:g}"
    if spec.precision == "fp16":
        hint += "; or fp16 overflowed (its largest number is 65504): --set precision=autocast"
    return TrainingError(what, hint)


class LossCurve:
    """Averages losses over a few steps; they are read from the device, and checked for NaN, only then.

    Args:
        task: the task of the losses.
        spec: the run's spec.
        rates: returns the learning rates of the last step, as text.
    """

    def __init__(self, task: str, spec: RunSpec, rates: Callable[[], str]) -> None:
        self.task, self.spec, self.rates = task, spec, rates
        self.points: list[tuple[int, int, float]] = []
        self._sum: Tensor | None = None
        self._steps = 0

    def add(self, step: int, loss: Tensor) -> None:
        """Add a step's loss."""
        self._sum = loss.clone() if self._sum is None else self._sum.add_(loss)
        self._steps += 1
        if self._steps == LOSS_EVERY:
            self.finish(step)

    def finish(self, step: int) -> list[tuple[int, int, float]]:
        """Close the last, possibly shorter average and return all points."""
        if self._sum is not None:
            mean = float(self._sum) / self._steps
            if not math.isfinite(mean):
                raise diverged(
                    f"the loss of task {self.task} is {mean} within the {self._steps} steps before step {step}",
                    self.spec,
                    self.rates(),
                )
            self.points.append((step, self._steps, mean))
            self._sum, self._steps = None, 0
        return self.points

    def state(self) -> dict[str, Any]:
        """Return what is needed to resume, in tensors and plain containers."""
        return {"task": self.task, "points": list(self.points), "sum": self._sum, "steps": self._steps}

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], spec: RunSpec, rates: Callable[[], str], device: torch.device
    ) -> Self:
        """Restore from what `state` returned, with the sum on the device."""
        curve = cls(state["task"], spec, rates)
        curve.points = list(state["points"])
        curve._sum = None if state["sum"] is None else state["sum"].to(device)
        curve._steps = state["steps"]
        return curve
