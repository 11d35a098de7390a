"""The feed-forward block of a layer with both weights frozen: W2 gelu(W1 x + b1) + b2."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from peftbench.kernels.linear import FrozenWeight


def feed_forward(x: Tensor, up: FrozenWeight, down: FrozenWeight) -> Tensor:
    """Return `[n, hidden]` in fp32 for x, `[n, hidden]`; the inner `[n, inner]` matrix stays in the weights' dtype."""
    if not (torch.is_grad_enabled() and x.requires_grad):
        return down.forward(up.inner(x, gelu=True))
    out: Tensor = _FeedForward.apply(x, up, down)
    return out


class _FeedForward(Function):
    """Saves only W1 x + b1: its GELU is the input of a frozen weight, and not needed in backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, up: FrozenWeight, down: FrozenWeight) -> Tensor:
        inner = up.inner(x)
        ctx.up, ctx.down = up, down
        ctx.save_for_backward(inner)
        return down.forward(F.gelu(inner))

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None, None]:
        (inner,) = ctx.saved_tensors
        g = ctx.down.backward(gy, fp32=False)
        return ctx.up.backward(torch.ops.aten.gelu_backward(g, inner)), None, None
