"""Self-attention over concatenated texts, each attending only to itself.

On the CPU the texts of a batch are sorted by length, so that texts of equal length form a dense
`[count, heads, length, head]` view of the token matrix: no padding, no mask, no input copy. On a GPU the same
matrix is passed to torch's attention over jagged nested tensors, which selects a variable-length kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from peftbench.kernels.device import is_fake, on_cpu
from peftbench.kernels.dropout import keep_mask


@dataclass(frozen=True, slots=True)
class Layout:
    """The positions of texts in a token matrix, sorted by length, longest first.

    `groups` holds (first token, texts, length) for each run of texts of equal length. `rows` is the height of the
    matrix: after the tokens there may be a few padding rows (see `round_up`). `offsets` is `[texts + 1]` int32 on
    the batch's device; `longest` and `shortest` are host values, which avoids synchronising with the GPU.
    """

    groups: tuple[tuple[int, int, int], ...]
    offsets: Tensor
    longest: int
    shortest: int
    rows: int

    @property
    def tokens(self) -> int:
        """Number of tokens, without padding rows."""
        return sum(count * length for _, count, length in self.groups)

    @property
    def texts(self) -> int:
        """Number of texts."""
        return sum(count for _, count, _ in self.groups)

    def parts(self, texts: Sequence[int]) -> list[Layout]:
        """Return the layouts of the first `texts[0]` texts, of the `texts[1]` after them, and so on.

        Texts of a part that follow each other in equal length are a group of it; padding rows belong to the last part.
        """
        lengths = [length for _, count, length in self.groups for _ in range(count)]
        layouts, start = [], 0
        for count in texts:
            stop, groups, rows = start + count, [], 0
            for length, equal in groupby(lengths[start:stop]):
                groups.append((rows, len(list(equal)), length))
                rows += groups[-1][1] * length
            if stop == len(lengths):
                rows += self.rows - self.tokens
            offsets = self.offsets[start : stop + 1] - self.offsets[start]
            layouts.append(Layout(tuple(groups), offsets, max(lengths[start:stop]), min(lengths[start:stop]), rows))
            start = stop
        return layouts


def round_up(tokens: int) -> int:
    """Round the number of matrix rows for `tokens` up, by at most 1/32.

    oneDNN caches code for each size it has met, and freed blocks of varying sizes cannot be reused:
    without rounding, memory grew by 25 MiB per step at batch size 64.
    """
    step = 1 << max(0, tokens.bit_length() - 6)
    return -(-tokens // step) * step


def attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, layout: Layout, p: float, window: int | None = None
) -> Tensor:
    """Return softmax(q k^T / sqrt(head)) v within each text, with as many rows as q; padding rows are 0.

    Args:
        q: `[rows, hidden]`, or `[texts, hidden]` if only each text's first token is a query.
        k: `[rows, hidden]`.
        v: `[rows, hidden]`.
        heads: number of heads, of `hidden / heads` columns each.
        layout: the positions of the texts.
        p: dropout on the attention weights; 0 in evaluation.
        window: a token attends to those at most so far from it; None: to all of its text.
    """
    if window is not None and layout.longest - 1 <= window:
        window = None
    if not on_cpu(q.device):
        return _nested(q, k, v, heads, layout, p) if window is None else _masked(q, k, v, heads, layout, p, window)
    if p:
        out: Tensor = _Dropped.apply(q, k, v, heads, layout, p, window)
    else:
        out = _Flash.apply(q, k, v, heads, layout, window)
    return out


def _band(rows: int, length: int, window: int | None, like: Tensor) -> Tensor | None:
    """Return what is added to scores, `[rows, length]`: -inf outside the window; None where nothing is outside."""
    if window is None or length - 1 <= window:
        return None
    at = torch.arange(length, device=like.device)
    outside = (at[:rows, None] - at).abs() > window
    return torch.zeros(outside.shape, dtype=like.dtype, device=like.device).masked_fill_(outside, -torch.inf)


def _masked(q: Tensor, k: Tensor, v: Tensor, heads: int, layout: Layout, p: float, window: int) -> Tensor:
    """Attend within a window on a GPU, whose kernels of variable length take no mask: group by group."""
    parts = []
    for query, seen in zip(group_views(layout, len(q)), layout.groups, strict=True):
        mask = _band(query[2], seen[2], window, q)
        tensors = (by_head(q, query, heads), by_head(k, seen, heads), by_head(v, seen, heads))
        parts.append(
            F.scaled_dot_product_attention(*tensors, attn_mask=mask, dropout_p=p).transpose(1, 2).flatten(0, 1)
        )
    out = torch.cat(parts).flatten(-2)
    return F.pad(out, (0, 0, 0, len(q) - len(out)))


def _nested(q: Tensor, k: Tensor, v: Tensor, heads: int, layout: Layout, p: float) -> Tensor:
    """Use nested tensors: torch selects its flash or memory-efficient kernel for variable lengths."""
    if is_fake():
        return _memory_efficient(q, k, v, heads, layout, p)

    def jagged(x: Tensor, offsets: Tensor, longest: int, shortest: int) -> Tensor:
        x = x.unflatten(-1, (heads, -1))
        nested = torch.nested.nested_tensor_from_jagged(x, offsets, min_seqlen=shortest, max_seqlen=longest)
        return nested.transpose(1, 2)

    full = (layout.offsets, layout.longest, layout.shortest)
    query, padding = full, layout.rows - layout.tokens
    if len(q) != layout.rows:
        query, padding = (torch.arange(len(q) + 1, dtype=layout.offsets.dtype, device=q.device), 1, 1), 0
    q, k, v = q[: len(q) - padding], k[: layout.tokens], v[: layout.tokens]
    out = F.scaled_dot_product_attention(jagged(q, *query), jagged(k, *full), jagged(v, *full), dropout_p=p)
    return F.pad(out.transpose(1, 2).values().flatten(-2), (0, 0, 0, padding))


def _memory_efficient(q: Tensor, k: Tensor, v: Tensor, heads: int, layout: Layout, p: float) -> Tensor:
    """Call directly the kernel that `_nested` selects in fp32: torch cannot select one for tensors without values."""
    nothing = layout.rows - layout.tokens if len(q) == layout.rows else 0
    each = layout.offsets.new_empty(layout.texts + 1)  # one query row per text
    asked, longest = (layout.offsets, layout.longest) if len(q) == layout.rows else (each, 1)
    tokens = (q[: len(q) - nothing], k[: layout.tokens], v[: layout.tokens])
    parts = (x.unflatten(-1, (heads, -1)).unsqueeze(0) for x in tokens)
    out = torch.ops.aten._efficient_attention_forward(
        *parts, None, asked, layout.offsets, longest, layout.longest, p, 0, q.requires_grad
    )[0]
    return F.pad(out.squeeze(0).flatten(-2), (0, 0, 0, nothing))


def group_views(layout: Layout, rows: int) -> list[tuple[int, int, int]]:
    """Return (first row, texts, rows per text) of each group, for a matrix of all tokens or of first tokens."""
    if rows == layout.rows:
        return list(layout.groups)
    views, first = [], 0
    for _, count, _ in layout.groups:
        views.append((first, count, 1))
        first += count
    return views


def by_head(x: Tensor, group: tuple[int, int, int], heads: int) -> Tensor:
    """Return a group's `[texts, heads, rows, head]` view of `[rows, hidden]`."""
    first, count, length = group
    return x[first : first + count * length].view(count, length, heads, -1).transpose(1, 2)


def empty_like(x: Tensor, layout: Layout) -> Tensor:
    """Return an uninitialised matrix like x, with zeros in the padding rows."""
    room = torch.empty_like(x)
    if len(x) == layout.rows:
        room[layout.tokens :] = 0
    return room


class _Flash(Function):
    """torch's CPU flash kernel, group by group: saves the output and the log-sum-exp, but no attention weights."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, layout: Layout, window: int | None) -> Tensor:
        out = empty_like(q, layout)
        sums = []
        for query, seen in zip(group_views(layout, len(q)), layout.groups, strict=True):
            attended, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                by_head(q, query, heads),
                by_head(k, seen, heads),
                by_head(v, seen, heads),
                attn_mask=_band(query[2], seen[2], window, q),
            )
            by_head(out, query, heads).copy_(attended)
            sums.append(log_sum)
        ctx.heads, ctx.layout, ctx.window = heads, layout, window
        ctx.save_for_backward(q, k, v, out, *sums)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, *sums = ctx.saved_tensors
        grads = [empty_like(x, ctx.layout) for x in (q, k, v)]
        for query, seen, log_sum in zip(group_views(ctx.layout, len(q)), ctx.layout.groups, sums, strict=True):
            views = (query, seen, seen)
            parts = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                by_head(g, query, ctx.heads),
                *(by_head(x, view, ctx.heads) for x, view in zip((q, k, v), views, strict=True)),
                by_head(out, query, ctx.heads),
                log_sum,
                0.0,
                False,
                attn_mask=_band(query[2], seen[2], ctx.window, q),
            )
            for grad, view, part in zip(grads, views, parts, strict=True):
                by_head(grad, view, ctx.heads).copy_(part)
        return (*grads, None, None, None)


class _Dropped(Function):
    """Attention with dropout on the weights, which are recomputed in backward: only the dropout mask is saved."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, layout: Layout, p: float, window: int | None
    ) -> Tensor:
        out = empty_like(q, layout)
        queries = group_views(layout, len(q))
        sizes = [c * heads * rows * length for (_, c, rows), (_, _, length) in zip(queries, layout.groups, strict=True)]
        mask, ctx.scale = keep_mask((sum(sizes),), p, q.device)
        for query, seen, kept in zip(queries, layout.groups, mask.split(sizes), strict=True):
            weights = _weights(q, k, heads, query, seen, window)
            weights *= kept.view_as(weights)
            by_head(out, query, heads).copy_(torch.matmul(weights, by_head(v, seen, heads)))
        ctx.heads, ctx.layout, ctx.sizes, ctx.window = heads, layout, sizes, window
        ctx.save_for_backward(q, k, v, mask)
        return out.mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask = ctx.saved_tensors
        gq, gk, gv = (empty_like(x, ctx.layout) for x in (q, k, v))
        heads = ctx.heads
        g = g * ctx.scale
        queries = group_views(ctx.layout, len(q))
        for query, seen, kept in zip(queries, ctx.layout.groups, mask.split(ctx.sizes), strict=True):
            weights = _weights(q, k, heads, query, seen, ctx.window)
            kept = kept.view_as(weights)
            g_out = by_head(g, query, heads)
            by_head(gv, seen, heads).copy_(torch.matmul((weights * kept).transpose(-1, -2), g_out))
            g_weights = torch.matmul(g_out, by_head(v, seen, heads).transpose(-1, -2)).mul_(kept)
            g_scores = torch._softmax_backward_data(g_weights, weights, -1, weights.dtype)
            g_scores *= (q.shape[1] // heads) ** -0.5
            by_head(gq, query, heads).copy_(torch.matmul(g_scores, by_head(k, seen, heads)))
            by_head(gk, seen, heads).copy_(torch.matmul(g_scores.transpose(-1, -2), by_head(q, query, heads)))
        return gq, gk, gv, None, None, None, None


def _weights(
    q: Tensor, k: Tensor, heads: int, asked: tuple[int, int, int], seen: tuple[int, int, int], window: int | None
) -> Tensor:
    """Return a group's attention weights, `[texts, heads, queries, length]`."""
    scores = torch.matmul(by_head(q, asked, heads), by_head(k, seen, heads).transpose(-1, -2))
    scores.mul_((q.shape[1] // heads) ** -0.5)
    mask = _band(asked[2], seen[2], window, q)
    return (scores if mask is None else scores.add_(mask)).softmax(dim=-1)
