"""LoRA: low-rank adaptation (Hu et al. 2021, arXiv 2106.09685).

    h = W0 x + s B A x,    s = alpha / r                                                    (eq. 3)

W0 [out, in] is frozen; A [r, in] starts Kaiming-uniform (a = sqrt 5), B [out, r] starts at zero, so that
training starts from the pretrained function. Each task has its own A and B on every target.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from peftbench.kernels.linear import FrozenWeight
from peftbench.kernels.quantized import dense
from peftbench.methods.adapted import Adapter, LowRank
from peftbench.methods.base import ParameterGroup, faster_b
from peftbench.methods.options import LoraOptions, LoraPlusOptions


class LoraAdapter(Adapter):
    """One task's adapter on one linear layer: `rank * (in + out)` weights."""

    is_fast = True

    def __init__(self, base: nn.Linear, options: LoraOptions, rng: torch.Generator) -> None:
        super().__init__(base, options, rng)
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
        return dense(base) + self.scale * (self.B @ self.A)

    def fast(self, x: Tensor, base: FrozenWeight) -> Tensor:
        """Return what `forward` does, for x, `[n, in]`; beside x, A x and the weights nothing is saved."""
        if self.dropout and self.training:
            return base(x) + self.low_rank(x)
        out: Tensor = _Lora.apply(x, self.A, self.B, self.scale, base)
        return out

    def apply_inplace_(self, u: Tensor, x: Tensor, base: FrozenWeight) -> None:
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


class Lora(LowRank[LoraOptions]):
    """The method `lora`."""

    adapter = LoraAdapter


class LoraPlus(LowRank[LoraPlusOptions]):
    """The method `loraplus`: LoRA with a learning rate of its own for B (Hayou et al. 2024, arXiv 2402.12354)."""

    adapter = LoraAdapter

    def parameter_groups(self, weights: Mapping[str, nn.Parameter], lr: float) -> list[ParameterGroup]:
        """Give every B the learning rate `lr_ratio * lr`."""
        return faster_b(weights, lr, self.options.lr_ratio, ".B")
