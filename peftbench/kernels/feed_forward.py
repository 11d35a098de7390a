"""The feed-forward block of a layer with both weights frozen.

plain   W2 gelu(W1 x + b1) + b2
gated   W2 (gelu(u) * v) + b2, where u and v are the halves of W1 x + b1 (GeGLU: Shazeer 2020, arXiv 2002.05202)
"""

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


def gated_feed_forward(x: Tensor, up: FrozenWeight, down: FrozenWeight) -> Tensor:
    """Return `[n, hidden]` in fp32 for x, `[n, hidden]`; `[n, 2 * inner]` inside it stays in the weights' dtype."""
    if not (torch.is_grad_enabled() and x.requires_grad):
        return down.forward(_gated(up.inner(x)))
    out: Tensor = _GatedFeedForward.apply(x, up, down)
    return out


def _gated(inner: Tensor) -> Tensor:
    u, v = inner.chunk(2, dim=-1)
    return F.gelu(u).mul_(v)


class _GatedFeedForward(Function):
    """Saves only W1 x + b1, as the plain block."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, up: FrozenWeight, down: FrozenWeight) -> Tensor:
        inner = up.inner(x)
        ctx.up, ctx.down = up, down
        ctx.save_for_backward(inner)
        return down.forward(_gated(inner))

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None, None]:
        (inner,) = ctx.saved_tensors
        u, v = inner.chunk(2, dim=-1)
        g = ctx.down.backward(gy, fp32=False)
        g_inner = torch.empty_like(inner)
        g_u, g_v = g_inner.chunk(2, dim=-1)
        torch.mul(g, F.gelu(u), out=g_v)
        g_u.copy_(torch.ops.aten.gelu_backward(g.mul_(v), u))
        return ctx.up.backward(g_inner), None, None
