"""The training loss: averaged over a few steps, and noticed where it is no number any more."""

from __future__ import annotations

import math

from torch import Tensor

from peftbench.errors import TrainingError
from peftbench.spec.model import RunSpec

LOSS_EVERY = 20  # steps averaged into one point of the loss curve


def diverged(what: str, spec: RunSpec) -> TrainingError:
    """Return the error for a loss that is no number any more, with what to try."""
    lr = spec.train.lr
    return TrainingError(what, f"the learning rate, {lr:g}, is probably too high: --set train.lr={lr / 10:g}")


class LossCurve:
    """Averages losses over a few steps; reading them from the device is also where a NaN is noticed."""

    def __init__(self, task: str, spec: RunSpec) -> None:
        self.task, self.spec = task, spec
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
                )
            self.points.append((step, self._steps, mean))
            self._sum, self._steps = None, 0
        return self.points
