"""The error for a loss that is not finite."""

from __future__ import annotations

from peftbench.errors import TrainingError
from peftbench.spec.model import RunSpec


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
