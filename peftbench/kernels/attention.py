"""Self-attention over texts that lie end to end, each seeing only itself.

On the CPU the texts of a batch are sorted by length, so that those of one length are a dense
`[count, heads, length, head]` view of the token matrix: no padding, no mask, no copy going in. On a GPU the
same matrix goes to torch's attention over jagged nested tensors, which picks a variable-length kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from peftbench.kernels.dropout import keep_mask
from peftbench.kernels.place import is_imagined, on_cpu


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the texts lie in a token matrix: sorted by length, the longest first.

    `groups` holds (first token, texts, length) of each run of texts of one length. `rows` is the height of the
    matrix: below the tokens there may be a few rows of nothing (see `round_up`). `offsets` is `[texts + 1]` int32 on
    the batch's device; `longest` and `shortest` are host numbers, so that a GPU is not waited for.
    """

    groups: tuple[tuple[int, int, int], ...]
    offsets: Tensor
    longest: int
    shortest: int
    rows: int

    @property
    def tokens(self) -> int:
        """Rows of the token matrix that hold a token."""
        return sum(count * length for _, count, length in self.groups)

    @property
    def texts(self) -> int:
        """Number of texts."""
        return sum(count for _, count, _ in self.groups)


def round_up(tokens: int) -> int:
    """Return the height of a matrix for so many tokens: at most a 32nd more.

    oneDNN keeps code for each size that it has met, and freed blocks of ever new sizes do not fit the next ones:
    without rounding, memory grew by 25 MiB a step at batch 64.
    """
    step = 1 << max(0, tokens.bit_length() - 6)
    return -(-tokens // step) * step


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, layout: Layout, p: float) -> Tensor:
    """Return softmax(q k^T / sqrt(head)) v within each text, as many rows as q has; those of nothing are 0.

    Args:
        q: `[rows, hidden]`, or `[texts, hidden]` where only each text's first token asks.
        k: `[rows, hidden]`.
        v: `[rows, hidden]`.
        heads: of which each takes `hidden / heads` columns.
        layout: where the texts lie.
        p: dropout on the attention weights; 0 outside training.
    """
    if not on_cpu(q.device):
        return _nested(q, k, v, heads, layout, p)
    out: Tensor = _Dropped.apply(q, k, v, heads, layout, p) if p else _Flash.apply(q, k, v, heads, layout)
    return out


def _nested(q: Tensor, k: Tensor, v: Tensor, heads: int, layout: Layout, p: float) -> Tensor:
    """Through nested tensors: torch takes its flash or memory-efficient kernel for variable lengths."""
    if is_imagined():
        return _memory_efficient(q, k, v, heads, layout, p)

    def jagged(x: Tensor, offsets: Tensor, longest: int, shortest: int) -> Tensor:
        x = x.unflatten(-1, (heads, -1))
        nested = torch.nested.nested_tensor_from_jagged(x, offsets, min_seqlen=shortest, max_seqlen=longest)
        return nested.transpose(1, 2)

    whole = (layout.offsets, layout.longest, layout.shortest)
    asked, nothing = whole, layout.rows - layout.tokens
    if len(q) != layout.rows:
        asked, nothing = (torch.arange(len(q) + 1, dtype=layout.offsets.dtype, device=q.device), 1, 1), 0
    q, k, v = q[: len(q) - nothing], k[: layout.tokens], v[: layout.tokens]
    out = F.scaled_dot_product_attention(jagged(q, *asked), jagged(k, *whole), jagged(v, *whole), dropout_p=p)
    return F.pad(out.transpose(1, 2).values().flatten(-2), (0, 0, 0, nothing))


def _memory_efficient(q: Tensor, k: Tensor, v: Tensor, heads: int, layout: Layout, p: float) -> Tensor:
    """Call the kernel that `_nested` comes to in fp32 by its own name: without values there is no choosing."""
    nothing = layout.rows - layout.tokens if len(q) == layout.rows else 0
    each = layout.offsets.new_empty(layout.texts + 1)  # one row of each text asks
    asked, longest = (layout.offsets, layout.longest) if len(q) == layout.rows else (each, 1)
    tokens = (q[: len(q) - nothing], k[: layout.tokens], v[: layout.tokens])
    parts = (x.unflatten(-1, (heads, -1)).unsqueeze(0) for x in tokens)
    out = torch.ops.aten._efficient_attention_forward(
        *parts, None, asked, layout.offsets, longest, layout.longest, p, 0, q.requires_grad
    )[0]
    return F.pad(out.squeeze(0).flatten(-2), (0, 0, 0, nothing))


def _views(layout: Layout, rows: int) -> list[tuple[int, int, int]]:
    """Return (first row, texts, rows a text) of each group, for a matrix of all tokens or of first tokens."""
    if rows == layout.rows:
        return list(layout.groups)
    found, first = [], 0
    for _, count, _ in layout.groups:
        found.append((first, count, 1))
        first += count
    return found


def _heads(x: Tensor, place: tuple[int, int, int], heads: int) -> Tensor:
    """Return a group's `[texts, heads, rows, head]` view of `[rows, hidden]`."""
    first, count, length = place
    return x[first : first + count * length].view(count, length, heads, -1).transpose(1, 2)


def _room(x: Tensor, layout: Layout) -> Tensor:
    """Return an empty matrix like x, with zeros in the rows of nothing."""
    room = torch.empty_like(x)
    if len(x) == layout.rows:
        room[layout.tokens :] = 0
    return room


class _Flash(Function):
    """torch's CPU flash kernel, a group at a time: saves the output and the rows' log-sum-exp, no weights."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, layout: Layout) -> Tensor:
        out = _room(q, layout)
        sums = []
        for asked, seen in zip(_views(layout, len(q)), layout.groups, strict=True):
            found, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                _heads(q, asked, heads), _heads(k, seen, heads), _heads(v, seen, heads)
            )
            _heads(out, asked, heads).copy_(found)
            sums.append(log_sum)
        ctx.heads, ctx.layout = heads, layout
        ctx.save_for_backward(q, k, v, out, *sums)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, *sums = ctx.saved_tensors
        grads = [_room(x, ctx.layout) for x in (q, k, v)]
        for asked, seen, log_sum in zip(_views(ctx.layout, len(q)), ctx.layout.groups, sums, strict=True):
            places = (asked, seen, seen)
            found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                _heads(g, asked, ctx.heads),
                *(_heads(x, place, ctx.heads) for x, place in zip((q, k, v), places, strict=True)),
                _heads(out, asked, ctx.heads),
                log_sum,
                0.0,
                False,
            )
            for grad, place, part in zip(grads, places, found, strict=True):
                _heads(grad, place, ctx.heads).copy_(part)
        return (*grads, None, None)


class _Dropped(Function):
    """With dropout on the weights: they are computed anew in backward, only their mask is saved."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, layout: Layout, p: float) -> Tensor:
        out = _room(q, layout)
        asked = _views(layout, len(q))
        sizes = [c * heads * rows * length for (_, c, rows), (_, _, length) in zip(asked, layout.groups, strict=True)]
        mask, ctx.scale = keep_mask((sum(sizes),), p, q.device)
        for place, seen, kept in zip(asked, layout.groups, mask.split(sizes), strict=True):
            weights = _weights(q, k, heads, place, seen)
            weights *= kept.view_as(weights)
            _heads(out, place, heads).copy_(torch.matmul(weights, _heads(v, seen, heads)))
        ctx.heads, ctx.layout, ctx.sizes = heads, layout, sizes
        ctx.save_for_backward(q, k, v, mask)
        return out.mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask = ctx.saved_tensors
        gq, gk, gv = (_room(x, ctx.layout) for x in (q, k, v))
        heads = ctx.heads
        g = g * ctx.scale
        asked = _views(ctx.layout, len(q))
        for place, seen, kept in zip(asked, ctx.layout.groups, mask.split(ctx.sizes), strict=True):
            weights = _weights(q, k, heads, place, seen)
            kept = kept.view_as(weights)
            g_out = _heads(g, place, heads)
            _heads(gv, seen, heads).copy_(torch.matmul((weights * kept).transpose(-1, -2), g_out))
            g_weights = torch.matmul(g_out, _heads(v, seen, heads).transpose(-1, -2)).mul_(kept)
            g_scores = torch._softmax_backward_data(g_weights, weights, -1, weights.dtype)
            g_scores *= (q.shape[1] // heads) ** -0.5
            _heads(gq, place, heads).copy_(torch.matmul(g_scores, _heads(k, seen, heads)))
            _heads(gk, seen, heads).copy_(torch.matmul(g_scores.transpose(-1, -2), _heads(q, place, heads)))
        return gq, gk, gv, None, None, None


def _weights(q: Tensor, k: Tensor, heads: int, asked: tuple[int, int, int], seen: tuple[int, int, int]) -> Tensor:
    """Return a group's attention weights, `[texts, heads, asking, length]`."""
    scores = torch.matmul(_heads(q, asked, heads), _heads(k, seen, heads).transpose(-1, -2))
    return scores.mul_((q.shape[1] // heads) ** -0.5).softmax(dim=-1)
