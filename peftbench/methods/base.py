"""Interface of a method: makes an encoder trainable, switches its task, and takes part in training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from peftbench.methods.options import MethodOptions

Options = TypeVar("Options", bound=MethodOptions)
ParameterGroup = dict[str, Any]  # as torch's optimisers take it: "params", "lr"


class Method(ABC, Generic[Options]):
    """One way to make an encoder trainable. An instance serves one encoder.

    Only the first two methods must be implemented. The others let a method take part in training: `plan` is called
    once before it, `penalty` and `after_step` at every step of the given task. A method with state between steps must
    implement `state` and `load_state`, or its runs cannot be resumed bit-identically.

    `unmergeable`: why a task's adapters cannot become part of the encoder's weights.
    """

    unmergeable: ClassVar[str | None] = None

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    def attach(self, encoder: nn.Module, tasks: Sequence[str], seed: int) -> None:
        """Change the encoder in place: freeze what is not trained, add what is, initialised from `seed`.

        Afterwards exactly the weights to train have `requires_grad`. A task's own weights (and buffers to save)
        have `mark(task)` in their name.
        """

    @abstractmethod
    def switch_mode(self, task: str) -> None:
        """Activate a task's adapters. Called before every batch of another task; allocates nothing."""

    def merge(self, encoder: nn.Module, task: str) -> None:
        """Merge a task's adapters into the encoder's weights, irreversibly: it becomes a plain encoder of that task."""

    def mark(self, task: str) -> str:
        """Return a substring of the names of a task's own weights: by default below a module dict `adapters`."""
        return f".adapters.{task}."

    def parameter_groups(self, weights: Mapping[str, nn.Parameter], lr: float) -> list[ParameterGroup]:
        """Return the optimiser's groups for the trained weights (heads included), by their names."""
        return [{"params": list(weights.values()), "lr": lr}]

    def plan(self, steps: Mapping[str, int]) -> None:
        """Receive the number of steps that each task will be trained for."""

    def penalty(self, task: str) -> Tensor | None:
        """Return a scalar to add to the loss of a step, or None."""
        return None

    def after_step(self, task: str) -> None:
        """Called after an optimiser step, while the gradients still exist."""

    @property
    def adapted(self) -> tuple[str, ...]:
        """The names of the modules with adapters."""
        return ()

    @property
    def unmixable(self) -> str | None:
        """Why a batch of the native runtime cannot hold rows of several tasks; None where it can."""
        return None

    @property
    def needs_after_step(self) -> bool:
        """Whether `after_step` does anything. In fp16 that costs a device synchronisation at each step."""
        return type(self).after_step is not Method.after_step

    def state(self) -> dict[str, Any]:
        """Return what the next step depends on besides trained weights, buffers named by `mark`, and the optimiser.

        Only tensors and plain containers (dict, list, str, numbers), as it is part of a run's checkpoints.
        """
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore from what `state` returned; called once, after `plan`."""


def freeze(module: nn.Module) -> None:
    """Freeze every weight of the module."""
    for weight in module.parameters():
        weight.requires_grad_(False)


def faster_b(weights: Mapping[str, nn.Parameter], lr: float, ratio: float, mark: str) -> list[ParameterGroup]:
    """Return two groups: the weights with `mark` in their name at `ratio * lr`, the others at `lr`."""
    fast = [weight for name, weight in weights.items() if mark in name]
    others = [weight for name, weight in weights.items() if mark not in name]
    return [{"params": others, "lr": lr}, {"params": fast, "lr": ratio * lr}]
