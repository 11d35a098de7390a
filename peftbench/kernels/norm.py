"""The end of each half of a layer: LayerNorm(residual + dropout(h))."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from peftbench.kernels.dropout import keep_mask
from peftbench.kernels.place import all_above, on_cpu

SMALLEST_WEIGHT = 1e-2  # of a LayerNorm, to find its input from its output by dividing


def residual_norm(h: Tensor, residual: Tensor, norm: nn.LayerNorm, p: float) -> Tensor:
    """Return LayerNorm(residual + dropout(h)), `[n, hidden]`; `p` is 0 outside training."""
    out: Tensor = _ResidualNorm.apply(h, residual, norm.weight, norm.bias, norm.eps, p)
    return out


class _ResidualNorm(Function):
    """Saves the result, its mean and deviation, and the mask: h and the residual themselves are not needed again.

    The sum that was normalised is found from the result, which the next multiplication keeps as well in most
    methods; where some weight is too small to divide by, and on a GPU (to look would be to wait), the sum is kept.
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
