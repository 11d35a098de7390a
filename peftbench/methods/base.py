"""What a method is: how the encoder is made trainable, and how its task is switched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from torch import nn

from peftbench.methods.options import MethodOptions

Options = TypeVar("Options", bound=MethodOptions)


class Method(ABC, Generic[Options]):
    """One way to make an encoder trainable. An instance serves one encoder."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    def attach(self, encoder: nn.Module, tasks: Sequence[str], seed: int) -> None:
        """Change the encoder in place: freeze what stays, add what is trained, initialised from `seed`.

        After it, exactly the weights to train have `requires_grad`. A task's own weights lie below an
        `nn.ModuleDict` named `adapters`, by the task's name: so they are saved and counted.
        """

    @abstractmethod
    def switch_mode(self, task: str) -> None:
        """Make a task's adapters the active ones. Called before every batch of another task; allocates nothing."""


def freeze(module: nn.Module) -> None:
    """Take every weight of the module out of training."""
    for weight in module.parameters():
        weight.requires_grad_(False)
