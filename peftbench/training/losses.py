"""The training loss: averaged over a few steps, and noticed where it is no number any more."""

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
    """Return the error for a loss that is no number any more, with what to try.

    Args:
        what: which loss, of which task, at which step.
        spec: the run's.
        rates: the learning rates in force at that step.
    """
    lr = spec.train.lr
    hint = f"the learning rate, {rates} at that step, is probably too high: --set train.lr={lr / 10:g}"
    if spec.precision == "fp16":
        hint += "; or fp16's numbers end too early (65504): --set precision=autocast"
    return TrainingError(what, hint)


class LossCurve:
    """Averages losses over a few steps; reading them from the device is also where a NaN is noticed.

    Args:
        task: whose losses.
        spec: the run's.
        rates: says the learning rates of the last step.
    """

    def __init__(self, task: str, spec: RunSpec, rates: Callable[[], str]) -> None:
        self.task, self.spec, self.rates = task, spec, rates
        self.points: list[tuple[int, int, float]] = []
        self._sum: Tensor | None = None
        self._steps = 0

    def add(self, step: int, loss: Tensor) -> None:
        """Take a step's loss."""
        self._sum = loss.clone() if self._sum is None else self._sum.add_(loss)
        self._steps += 1
        if self._steps == LOSS_EVERY:
            self.finish(step)

    def finish(self, step: int) -> list[tuple[int, int, float]]:
        """Close the last, shorter stretch and return every point."""
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
        """Return what was not told yet, in tensors and plain containers."""
        return {"task": self.task, "points": list(self.points), "sum": self._sum, "steps": self._steps}

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], spec: RunSpec, rates: Callable[[], str], device: torch.device
    ) -> Self:
        """Return what `state` was made of, its sum on the device."""
        curve = cls(state["task"], spec, rates)
        curve.points = list(state["points"])
        curve._sum = None if state["sum"] is None else state["sum"].to(device)
        curve._steps = state["steps"]
        return curve
