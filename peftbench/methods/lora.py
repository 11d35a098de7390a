"""LoRA: low-rank adaptation (Hu et al. 2021, arXiv 2106.09685).

    h = W0 x + s B A x,    s = alpha / r                                                    (eq. 3)

W0 [out, in] is frozen; A [r, in] starts Kaiming-uniform (a = sqrt 5), B [out, r] starts at zero, so that
training starts from the pretrained function. Each task has its own A and B on every target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftbench.methods.base import Method, freeze
from peftbench.methods.options import LoraOptions
from peftbench.methods.targets import target_names
from peftbench.seeds import generator


class LoraAdapter(nn.Module):
    """One task's adapter on one linear layer: `rank * (in + out)` weights."""

    def __init__(self, base: nn.Linear, options: LoraOptions, rng: torch.Generator) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.empty(options.rank, base.in_features))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5), generator=rng)
        self.B = nn.Parameter(torch.zeros(base.out_features, options.rank))
        self.scale = options.alpha / options.rank
        self.dropout = options.dropout

    def forward(self, x: Tensor, base: nn.Linear) -> Tensor:
        """Return h, `[..., out]`, for x, `[..., in]`."""
        return base(x) + self.low_rank(x)

    def low_rank(self, x: Tensor) -> Tensor:
        """Return s B A x, `[..., out]`."""
        x = F.dropout(x, self.dropout, self.training)
        return self.scale * F.linear(F.linear(x, self.A), self.B)


class AdaptedLinear(nn.Module):
    """A frozen linear layer with one adapter a task; `active` points at the one in use."""

    active: LoraAdapter

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.adapters = nn.ModuleDict()

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapted layer's output for the active task."""
        return cast("Tensor", self.active(x, self.base))

    def switch_mode(self, task: str) -> None:
        """Point at the task's adapter, without registering it as a second child."""
        object.__setattr__(self, "active", self.adapters[task])


LoraLike = TypeVar("LoraLike", bound=LoraOptions)


class LowRank(Method[LoraLike]):
    """Puts one adapter a task on every target; what the adapter computes is the subclass's."""

    adapter: type[LoraAdapter]

    def attach(self, encoder: nn.Module, tasks: Sequence[str], seed: int) -> None:
        """Freeze the encoder and wrap its targets.

        Raises:
            UsageError: a target names no linear layer of this encoder.
        """
        names = target_names(encoder, self.options.targets)
        freeze(encoder)
        self.layers: list[AdaptedLinear] = []
        for name in names:
            layer = AdaptedLinear(cast("nn.Linear", encoder.get_submodule(name)))
            for task in tasks:
                rng = generator(seed, "adapter", task, name)
                layer.adapters[task] = self.adapter(layer.base, self.options, rng)
            parent, _, attribute = name.rpartition(".")
            setattr(encoder.get_submodule(parent), attribute, layer)
            self.layers.append(layer)
        self.switch_mode(tasks[0])

    def switch_mode(self, task: str) -> None:
        """One pointer a layer."""
        for layer in self.layers:
            layer.switch_mode(task)


class Lora(LowRank[LoraOptions]):
    """The method `lora`."""

    adapter = LoraAdapter
