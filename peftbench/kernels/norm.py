"""The output of each layer half: LayerNorm(residual + dropout(h))."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from peftbench.kernels.device import all_above, on_cpu
from peftbench.kernels.dropout import keep_mask

SMALLEST_WEIGHT = 1e-2  # of a LayerNorm, for recovering its normalised input from its output by division


def residual_norm(h: Tensor, residual: Tensor, norm: nn.LayerNorm, p: float) -> Tensor:
    """Return LayerNorm(residual + dropout(h)), `[n, hidden]`; `p` is 0 in evaluation."""
    out: Tensor = _ResidualNorm.apply(h, residual, norm.weight, norm.bias, norm.eps, p)
    return out


class _ResidualNorm(Function):
    """Saves the result, its mean and deviation, and the dropout mask: h and the residual are not needed in backward.

    The normalised sum is recovered from the result, which the next multiplication saves anyway in most methods; if a
    weight is too small to divide by, and on a GPU (where checking would synchronise), the sum is saved.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float, p: float) -> Tensor:
        mask, ctx.scale = keep_mask(tuple(h.shape), p, h.device) if p else (None, 1.0)
        total = residual + h if mask is None else torch.addcmul(residual, h, mask.to(h.dtype), value=ctx.scale)
        y, mean, deviation = torch.native_layer_norm(total, total.shape[-1:], weight, bias, eps)
        ctx.divides = on_cpu(h.device) and all_above(weight, SMALLEST_WEIGHT)
        ctx.save_for_backward(y if ctx.divides else total, mean, deviation, weight, bias, mask)
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        total, mean, deviation, weight, bias, mask = ctx.saved_tensors
        if ctx.divides:  # `deviation` is 1 / sqrt(variance + eps)
            total = torch.sub(total, bias).div_(weight).div_(deviation).add_(mean)
        needs = ctx.needs_input_grad
        g, g_weight, g_bias = torch.ops.aten.native_layer_norm_backward(
            gy, total, total.shape[-1:], mean, deviation, weight, bias, (True, needs[2], needs[3])
        )
        gh = g if mask is None else torch.mul(g, mask).mul_(ctx.scale)
        return gh, g, g_weight, g_bias, None, None
