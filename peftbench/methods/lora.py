"""LoRA: low-rank adaptation (Hu et al. 2021, arXiv 2106.09685).

    h = W0 x + s B A x,    s = alpha / r                                                    (eq. 3)

W0 [out, in] is frozen; A [r, in] starts Kaiming-uniform (a = sqrt 5), B [out, r] starts at zero, so that
training starts from the pretrained function. Each task has its own A and B on every target.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from peftbench.kernels.linear import FrozenWeight
from peftbench.methods.base import Method, ParameterGroup, faster_b, freeze
from peftbench.methods.options import LoraOptions, LoraPlusOptions
from peftbench.methods.targets import target_names
from peftbench.seeds import generator

_FAST = ("fast", "finish_")


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

    def weight(self, base: nn.Linear) -> Tensor:
        """Return W0 + s B A, `[out, in]`: for tests and merging."""
        return base.weight + self.scale * (self.B @ self.A)

    needs_backward = False  # of W0, whatever the input's graph

    @classmethod
    def is_fast(cls) -> bool:
        """Tell whether `fast` and `finish_` belong to this `forward`: a subclass that gives only that one is plain."""
        places = [next(i for i, c in enumerate(cls.__mro__) if name in vars(c)) for name in _FAST]
        return max(places) <= next(i for i, c in enumerate(cls.__mro__) if "forward" in vars(c))

    def fast(self, x: Tensor, base: FrozenWeight) -> Tensor:
        """Return what `forward` does, for x, `[n, in]`; beside x, A x and the weights nothing is saved."""
        if self.dropout and self.training:
            return base(x) + self.low_rank(x)
        out: Tensor = _Lora.apply(x, self.A, self.B, self.scale, base)
        return out

    def finish_(self, u: Tensor, x: Tensor, base: FrozenWeight) -> None:
        """Turn u = W0 x into what `forward` returns, in place and without a graph: for some rows of a larger batch."""
        u.addmm_(x @ self.A.t(), self.B.t(), alpha=self.scale)
        if base.bias is not None:
            u.add_(base.bias)


class _Lora(Function):
    """h = W0 x + b + s B A x, in three multiplications each way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, A: Tensor, B: Tensor, scale: float, base: FrozenWeight) -> Tensor:
        xa = x @ A.t()
        ctx.save_for_backward(x, xa, A, B)
        ctx.scale, ctx.base = scale, base
        return base.forward(x).addmm_(xa, B.t(), alpha=scale)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        x, xa, A, B = ctx.saved_tensors
        g_xa, gA, gB = low_rank_gradients(gy, x, xa, B, ctx.scale)
        gx = ctx.base.backward(gy).addmm_(g_xa, A) if ctx.needs_input_grad[0] else None
        return gx, gA, gB, None, None


def low_rank_gradients(g: Tensor, x: Tensor, xa: Tensor, B: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of s B A x with respect to A x `[n, r]`, A `[r, in]` and B `[out, r]`.

    Args:
        g: gradient of the output, `[n, out]`.
        x: input, `[n, in]`.
        xa: A x, `[n, r]`.
        B: `[out, r]`.
        scale: s.
    """
    g_xa = (g @ B).mul_(scale)
    return g_xa, g_xa.t() @ x, (g.t() @ xa).mul_(scale)


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

    def mixed(self, x: Tensor, rows: Sequence[tuple[str, int]], base: FrozenWeight | None) -> Tensor:
        """Return `[n, out]` for rows of several tasks, one task's after another's, without a graph.

        Args:
            x: `[n, in]`.
            rows: (task, how many) in their order; together n.
            base: the packed W0, multiplied by once; None: each task's rows go through its plain adapter.
        """
        parts = x.split([count for _, count in rows])
        adapters = [cast("LoraAdapter", self.adapters[task]) for task, _ in rows]
        if base is None:
            return torch.cat([adapter(part, self.base) for adapter, part in zip(adapters, parts, strict=True)])
        u = base.forward(x, bias=False)
        for adapter, part, out in zip(adapters, parts, u.split([count for _, count in rows]), strict=True):
            adapter.finish_(out, part, base)
        return u

    def each(self) -> list[LoraAdapter]:
        """Return the adapters of all tasks."""
        return [cast("LoraAdapter", adapter) for adapter in self.adapters.values()]

    def switch_mode(self, task: str) -> None:
        """Point at the task's adapter, without registering it as a second child."""
        object.__setattr__(self, "active", self.adapters[task])


def replace(encoder: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place of the one of that name."""
    parent, _, attribute = name.rpartition(".")
    setattr(encoder.get_submodule(parent), attribute, module)


LoraLike = TypeVar("LoraLike", bound=LoraOptions)


class LowRank(Method[LoraLike]):
    """Puts one adapter a task on every target; what the adapter computes is the subclass's."""

    adapter: type[LoraAdapter]

    def attach(self, encoder: nn.Module, tasks: Sequence[str], seed: int) -> None:
        """Freeze the encoder and wrap its targets.

        Raises:
            UsageError: a target names no linear layer of this encoder.
        """
        names = target_names(encoder, self.options.targets, self.options.layers)
        freeze(encoder)
        self.layers: list[AdaptedLinear] = []
        for name in names:
            layer = AdaptedLinear(cast("nn.Linear", encoder.get_submodule(name)))
            for task in tasks:
                rng = generator(seed, "adapter", task, name)
                layer.adapters[task] = self.adapter(layer.base, self.options, rng)
            replace(encoder, name, layer)
            self.layers.append(layer)
        self.switch_mode(tasks[0])

    def switch_mode(self, task: str) -> None:
        """One pointer a layer."""
        for layer in self.layers:
            layer.switch_mode(task)

    @torch.no_grad()
    def merge(self, encoder: nn.Module, task: str) -> None:
        """Put W' in the place of each target."""
        for name, module in list(encoder.named_modules()):
            if isinstance(module, AdaptedLinear):
                adapter = cast("LoraAdapter", module.adapters[task])
                module.base.weight = nn.Parameter(adapter.weight(module.base), requires_grad=False)
                replace(encoder, name, module.base)
        self.layers = []


class Lora(LowRank[LoraOptions]):
    """The method `lora`."""

    adapter = LoraAdapter


class LoraPlus(LowRank[LoraPlusOptions]):
    """The method `loraplus`: LoRA with a learning rate of its own for B (Hayou et al. 2024, arXiv 2402.12354)."""

    adapter = LoraAdapter

    def parameter_groups(self, weights: Mapping[str, nn.Parameter], lr: float) -> list[ParameterGroup]:
        """Give every B the learning rate `lr_ratio * lr`."""
        return faster_b(weights, lr, self.options.lr_ratio, ".B")
