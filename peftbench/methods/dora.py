"""DoRA: weight-decomposed low-rank adaptation (Liu et al. 2024, arXiv 2402.09353).

    W' = m * (W0 + s B A) / ||W0 + s B A||                                                  (eq. 5)

m starts at ||W0||, so that training starts from the pretrained function. The norm is a constant in
backward (section 4.3). It is taken per output feature (dim 1 of torch's [out, in] weight) as the authors'
code and HF PEFT do; `norm_axis = "input"` takes it per input feature, the literal reading of "column".

With the norm a constant, W' x can be computed without W': a row scale is applied to the output, a column scale to
the input. That is what `forward` computes; `weight` is the equation itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from peftbench.kernels.device import all_above, on_cpu
from peftbench.kernels.linear import FrozenWeight
from peftbench.kernels.quantized import dense, product
from peftbench.methods.adapted import LowRank
from peftbench.methods.lora import LoraAdapter, low_rank_gradients
from peftbench.methods.options import DoraOptions

SMALLEST_FACTOR = 1e-2  # least m / ||W0 + s B A|| for which u is recovered from h by division


class DoraAdapter(LoraAdapter):
    """One task's adapter on one linear layer: LoRA's weights and a magnitude m, `[out]` or `[in]`."""

    is_fast = True
    needs_norms = True  # used by `fast_norm`

    def __init__(self, base: nn.Linear, options: DoraOptions, rng: torch.Generator) -> None:
        super().__init__(base, options, rng)
        self.dim = 1 if options.norm_axis == "output" else 0
        self.m = nn.Parameter(torch.linalg.vector_norm(dense(base).detach(), dim=self.dim))

    def forward(self, x: Tensor, base: nn.Linear) -> Tensor:
        """Return W' x + b, `[..., out]`, for x, `[..., in]`.

        With dropout, only the low-rank part's input is dropped. (HF PEFT drops it for the change of W0 x, too.)
        """
        factor = self.m / self.norm(base)
        if self.dim == 1:
            h = factor * (product(x, base) + self.low_rank(x))
        else:
            h = product(factor * x, base) + self.low_rank(factor * x)
        return h if base.bias is None else h + base.bias

    @torch.no_grad()
    def norm(self, base: nn.Linear) -> Tensor:
        """Return ||W0 + s B A|| along the norm axis, a constant in backward."""
        return torch.linalg.vector_norm(dense(base) + self.scale * (self.B @ self.A), dim=self.dim)

    def weight(self, base: nn.Linear) -> Tensor:
        """Return W', `[out, in]`: equation 5 directly, for tests and merging."""
        factor = (self.m / self.norm(base)).unsqueeze(self.dim)
        return factor * (dense(base) + self.scale * (self.B @ self.A))

    @property
    def needs_backward(self) -> bool:  # type: ignore[override]
        """Whether `base.backward` is needed: the norm per input feature takes B^T W0."""
        return self.dim == 0

    def fast(self, x: Tensor, base: FrozenWeight) -> Tensor:
        """Return the same as `forward`, for x, `[n, in]`, without forming W0 + s B A."""
        norm = self.fast_norm(base)
        if self.dim == 1 and not (self.dropout and self.training):
            out: Tensor = _Dora.apply(x, self.A, self.B, self.m, norm, self.scale, base)
            return out
        factor = self.m / norm
        if self.dim == 0:
            x, factor = factor * x, torch.ones_like(factor[:1])
        h = factor * (base(x, bias=False) + self.low_rank(x))
        return h if base.bias is None else h + base.bias

    def apply_inplace_(self, u: Tensor, x: Tensor, base: FrozenWeight) -> None:
        """Turn u = W0 x into the result of `forward`, in place and without autograd."""
        factor = self.m / self.fast_norm(base)
        if self.dim == 0:  # the factor scales the input of W0, so u cannot be used
            x = factor * x
            u.copy_(base.forward(x, bias=False))
            factor = torch.ones_like(factor[:1])
        u.addmm_(x @ self.A.t(), self.B.t(), alpha=self.scale)
        u.mul_(factor)
        if base.bias is not None:
            u.add_(base.bias)

    @torch.no_grad()
    def fast_norm(self, base: FrozenWeight) -> Tensor:
        """Return ||W0 + s B A|| along the norm axis, from the three terms of its square.

        Per output feature ||w_i + s b_i A||^2 = ||w_i||^2 + 2 s b_i . (A w_i) + s^2 b_i (A A^T) b_i^T; per input
        feature likewise, with the columns of W0, A and B^T W0.
        """
        ours: Tensor
        if self.dim == 1:
            ours, cross, gram = self.B, base.forward(self.A, bias=False).t(), self.A @ self.A.t()
        else:
            ours, cross, gram = self.A.t(), base.backward(self.B.t()).t(), self.B.t() @ self.B
        change = ((2 * cross + self.scale * (ours @ gram)) * ours).sum(dim=1)
        return (base.square_norms[self.dim] + self.scale * change).clamp_(min=0).sqrt_()


class _Dora(Function):
    """h = m / n * (W0 x + s B A x) + b, with the norm n a constant.

    The magnitude's gradient needs u = W0 x + s B A x. It is (h - b) n / m, so only h is saved, which attention
    saves anyway; where some m is too small to divide by, u is saved instead. A GPU always saves u: checking m there
    would synchronise.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, A: Tensor, B: Tensor, m: Tensor, norm: Tensor, scale: float, base: FrozenWeight
    ) -> Tensor:
        xa = x @ A.t()
        u = base.forward(x, bias=False).addmm_(xa, B.t(), alpha=scale)
        factor = m / norm
        ctx.divides = on_cpu(u.device) and all_above(factor, SMALLEST_FACTOR)
        ctx.scale, ctx.base = scale, base
        if base.bias is not None:
            h = torch.addcmul(base.bias, u, factor, out=u if ctx.divides else None)
        else:
            h = torch.mul(u, factor, out=u if ctx.divides else None)
        ctx.save_for_backward(x, xa, A, B, m, norm, h if ctx.divides else u)
        return h

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        x, xa, A, B, m, norm, kept = ctx.saved_tensors
        gm = torch.einsum("no,no->o", gy, kept)
        if ctx.divides:
            if ctx.base.bias is not None:
                gm -= ctx.base.bias * gy.sum(dim=0)
            gm /= m
        else:
            gm /= norm
        g = gy * (m / norm)
        g_xa, gA, gB = low_rank_gradients(g, x, xa, B, ctx.scale)
        gx = ctx.base.backward(g).addmm_(g_xa, A) if ctx.needs_input_grad[0] else None
        return gx, gA, gB, gm, None, None, None


class Dora(LowRank[DoraOptions]):
    """The method `dora`."""

    adapter = DoraAdapter
