"""Rotary positions: each head's columns rotated in pairs by an angle of the token's position (Su et al. 2021)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def rotated(x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> Tensor:
    """Return x, `[n, heads * head]`, with column i of a head rotated together with column i + head / 2.

    Args:
        x: queries or keys; rows may be apart.
        cos: `[n, head]`, the same in both halves, as in transformers.
        sin: likewise.
        heads: number of heads.
    """
    out: Tensor = _Rotated.apply(x, cos, sin, heads)
    return out


class _Rotated(Function):
    """A rotation's gradient is rotated back; x is not needed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> Tensor:
        ctx.heads = heads
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, heads)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _turn(g, cos, -sin, ctx.heads), None, None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> Tensor:
    parts = x.unflatten(-1, (heads, -1))
    half = parts.shape[-1] // 2
    cos, sin = cos[:, None, :half], sin[:, None, :half]
    first, second = parts[..., :half], parts[..., half:]
    out = torch.empty(parts.shape, dtype=x.dtype, device=x.device)
    torch.mul(first, cos, out=out[..., :half]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=out[..., half:]).addcmul_(first, sin)
    return out.flatten(-2)
