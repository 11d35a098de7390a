"""What a method is: how the encoder is made trainable, how its task is switched, and what it adds to training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from peftbench.methods.options import MethodOptions

Options = TypeVar("Options", bound=MethodOptions)
ParameterGroup = dict[str, Any]  # as torch's optimisers take it: "params", "lr"


class Method(ABC, Generic[Options]):
    """One way to make an encoder trainable. An instance serves one encoder.

    Only the first two functions must be given. The others let a method take part in training: `plan` is called
    once before it, `penalty` and `after_step` at every step of the task they name. A method that remembers something
    between steps gives `state` and `load_state`, or its runs cannot be resumed to the bit.
    """

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    def attach(self, encoder: nn.Module, tasks: Sequence[str], seed: int) -> None:
        """Change the encoder in place: freeze what stays, add what is trained, initialised from `seed`.

        After it, exactly the weights to train have `requires_grad`. A task's own weights (and buffers to save)
        have `mark(task)` in their name.
        """

    @abstractmethod
    def switch_mode(self, task: str) -> None:
        """Make a task's adapters the active ones. Called before every batch of another task; allocates nothing."""

    def merge(self, encoder: nn.Module, task: str) -> None:
        """Fold a task's adapters into the encoder's weights, for good: afterwards it is a plain one, of that task."""

    def mark(self, task: str) -> str:
        """Return what the names of a task's own weights contain: it lies below a module dictionary `adapters`."""
        return f".adapters.{task}."

    def parameter_groups(self, weights: Mapping[str, nn.Parameter], lr: float) -> list[ParameterGroup]:
        """Return the optimiser's groups for the trained weights (heads included), by their names."""
        return [{"params": list(weights.values()), "lr": lr}]

    def plan(self, steps: Mapping[str, int]) -> None:
        """Take the number of steps that each task will be trained for."""

    def penalty(self, task: str) -> Tensor | None:
        """Return what is added to the loss of a step, a scalar, or None."""
        return None

    def after_step(self, task: str) -> None:
        """Take note of an optimiser step; the gradients are still there."""

    @property
    def hears_steps(self) -> bool:
        """Whether `after_step` does anything. In fp16 that costs a wait for the device at each step."""
        return type(self).after_step is not Method.after_step

    def state(self) -> dict[str, Any]:
        """Return what a next step depends on beside trained weights, the buffers that `mark` names, and the optimiser.

        Tensors and plain containers (dict, list, str, numbers) alone: it is part of a run's snapshots.
        """
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned; called once, after `plan`."""


def freeze(module: nn.Module) -> None:
    """Take every weight of the module out of training."""
    for weight in module.parameters():
        weight.requires_grad_(False)


def faster_b(weights: Mapping[str, nn.Parameter], lr: float, ratio: float, mark: str) -> list[ParameterGroup]:
    """Return two groups: the weights with `mark` in their name at `ratio * lr`, the others at `lr`."""
    fast = [weight for name, weight in weights.items() if mark in name]
    others = [weight for name, weight in weights.items() if mark not in name]
    return [{"params": others, "lr": lr}, {"params": fast, "lr": ratio * lr}]
