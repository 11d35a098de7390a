"""Disentangled attention over concatenated texts (He et al. 2021, arXiv 2006.03654, equation 4).

    score(i, j) = s (q_i . k_j + q_i . K(i - j) + k_j . Q(i - j))

K and Q have a row for each distance i - j of a query from a key. Of a text of length L only 2 L - 1 distances occur, so
a group of equal lengths multiplies by these rows alone; and as the distance is constant along each diagonal, what
belongs to query i and key j lies in the product at a fixed stride: it is a view, without an index or a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from peftbench.kernels.attention import Layout, empty_like, group_views
from peftbench.kernels.device import on_cpu
from peftbench.kernels.dropout import keep_mask


@dataclass(frozen=True, slots=True)
class Distances:
    """Projections for the distances of a query from a key, None where a model has none.

    keys: K, `[2 longest - 1, hidden]`, for distances from longest - 1 down to 1 - longest.
    queries: Q, likewise, but for distances from 1 - longest up to longest - 1.
    """

    keys: Tensor | None
    queries: Tensor | None


def disentangled_attention(
    q: Tensor, k: Tensor, v: Tensor, distances: Distances, heads: int, layout: Layout, p: float, scale: float
) -> Tensor:
    """Return softmax(score) v within each text, with as many rows as q; padding rows are 0.

    Args:
        q: `[rows, hidden]`, or `[texts, hidden]` if only each text's first token is a query.
        k: `[rows, hidden]`.
        v: `[rows, hidden]`.
        distances: for at least the longest text.
        heads: number of heads, of `hidden / heads` columns each.
        layout: the positions of the texts.
        p: dropout on the attention weights; 0 in evaluation.
        scale: s.
    """
    if not on_cpu(q.device):
        return _padded(q, k, v, distances, heads, layout, p, scale)
    out: Tensor = _Disentangled.apply(q, k, v, distances.keys, distances.queries, None, heads, layout, p, scale)
    return out


def _padded(
    q: Tensor, k: Tensor, v: Tensor, distances: Distances, heads: int, layout: Layout, p: float, scale: float
) -> Tensor:
    """Attend in one group of padded texts, for a GPU, where a group of each length would be many small kernels."""
    rows = torch.arange(layout.tokens, dtype=layout.offsets.dtype, device=q.device)
    text = torch.bucketize(rows, layout.offsets[1:], right=True)
    slots = text * layout.longest + rows - layout.offsets[text]  # of each token in the padded matrix
    whole = layout.texts * layout.longest
    dense = Layout(((0, layout.texts, layout.longest),), layout.offsets, layout.longest, layout.longest, whole)

    def spread(x: Tensor) -> Tensor:
        return x.new_zeros(whole, x.shape[1]).index_copy(0, slots, x[: layout.tokens])

    only_first = len(q) != layout.rows
    absent = torch.arange(layout.longest, device=q.device) >= layout.offsets.diff()[:, None]
    query = q if only_first else spread(q)
    more = (distances.keys, distances.queries, absent, heads, dense, p, scale)
    out: Tensor = _Disentangled.apply(query, spread(k), spread(v), *more)
    return out if only_first else F.pad(out[slots], (0, 0, 0, layout.rows - layout.tokens))


class _Disentangled(Function):
    """Saves its inputs and the dropout mask: the weights are computed again in backward."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        keys: Tensor | None,
        queries: Tensor | None,
        absent: Tensor | None,
        heads: int,
        layout: Layout,
        p: float,
        scale: float,
    ) -> Tensor:
        out = empty_like(q, layout)
        views = zip(group_views(layout, len(q)), layout.groups, strict=True)
        groups = [_Group(query, seen, heads) for query, seen in views]
        sizes = [group.size for group in groups]
        mask, ctx.scale_kept = keep_mask((sum(sizes),), p, q.device) if p else (None, 1.0)
        for group, kept in zip(groups, _split(mask, sizes), strict=True):
            weights = group.weights(q, k, keys, queries, absent, scale)
            if kept is not None:
                weights *= kept.view_as(weights)
            group.write_queries(out, torch.bmm(weights, group.stacked(group.of_keys(v))))
        ctx.groups, ctx.sizes, ctx.layout, ctx.scale = groups, sizes, layout, scale
        ctx.save_for_backward(q, k, v, keys, queries, absent, mask)
        return out if mask is None else out.mul_(ctx.scale_kept)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, keys, queries, absent, mask = ctx.saved_tensors
        gq, gk, gv = (empty_like(x, ctx.layout) for x in (q, k, v))
        needs = ctx.needs_input_grad
        g_keys = torch.zeros_like(keys) if needs[3] else None
        g_queries = torch.zeros_like(queries) if needs[4] else None
        g = g if mask is None else g * ctx.scale_kept
        for group, kept in zip(ctx.groups, _split(mask, ctx.sizes), strict=True):
            weights = group.weights(q, k, keys, queries, absent, ctx.scale)
            kept = None if kept is None else kept.view_as(weights)
            g_out = group.stacked(group.of_queries(g))
            dropped = weights if kept is None else weights * kept
            group.write_keys(gv, torch.bmm(dropped.transpose(1, 2), g_out))
            g_weights = torch.bmm(g_out, group.stacked(group.of_keys(v)).transpose(1, 2))
            if kept is not None:
                g_weights *= kept
            g_scores = torch._softmax_backward_data(g_weights, weights, -1, weights.dtype).mul_(ctx.scale)
            group.add_gradients(g_scores, (q, k, keys, queries), (gq, gk, g_keys, g_queries))
        return gq, gk, gv, g_keys, g_queries, None, None, None, None, None


@dataclass(frozen=True, slots=True)
class _Group:
    """Texts of one length. Their matrices are stacked head by head, `[heads * texts, rows, columns]`.

    queries, seen: (first row, texts, rows per text) of the queries, and of the keys and values.
    """

    queries: tuple[int, int, int]
    seen: tuple[int, int, int]
    heads: int

    @property
    def rows(self) -> int:
        """Queries of a text."""
        return self.queries[2]

    @property
    def length(self) -> int:
        """Keys of a text."""
        return self.seen[2]

    @property
    def width(self) -> int:
        """Number of distances of a query from a key."""
        return self.rows + self.length - 1

    @property
    def size(self) -> int:
        """Number of attention weights."""
        return self.heads * self.seen[1] * self.rows * self.length

    def of_queries(self, x: Tensor) -> Tensor:
        """Return the group's `[heads, texts * rows, head]` view of a matrix with a row for each query."""
        return self._view(x, self.queries[0], self.queries[1] * self.rows)

    def of_keys(self, x: Tensor) -> Tensor:
        """Return the group's `[heads, texts * length, head]` view of a matrix with a row for each token."""
        return self._view(x, self.seen[0], self.seen[1] * self.length)

    def stacked(self, x: Tensor) -> Tensor:
        """Return `[heads, texts * n, head]` as `[heads * texts, n, head]`."""
        stack = self.heads * self.seen[1]
        return x.reshape(stack, x.shape[0] * x.shape[1] // stack, x.shape[2])

    def write_queries(self, x: Tensor, stacked: Tensor) -> None:
        """Write `[heads * texts, rows, head]` to the group's rows of a matrix."""
        view = self.of_queries(x)
        view.copy_(stacked.view(view.shape))

    def write_keys(self, x: Tensor, stacked: Tensor) -> None:
        """Write `[heads * texts, length, head]` to the group's rows of a matrix."""
        view = self.of_keys(x)
        view.copy_(stacked.view(view.shape))

    def weights(
        self, q: Tensor, k: Tensor, keys: Tensor | None, queries: Tensor | None, absent: Tensor | None, scale: float
    ) -> Tensor:
        """Return the attention weights, `[heads * texts, rows, length]`."""
        query, key = self.of_queries(q), self.of_keys(k)
        at_distance = None
        if keys is not None:
            at_distance = self._by_query(torch.bmm(query, self._of_distances(keys, self.rows).transpose(1, 2)))
        if queries is not None:
            by_key = self._by_key(torch.bmm(key, self._of_distances(queries, self.length).transpose(1, 2)))
            at_distance = by_key if at_distance is None else at_distance + by_key
        query, key = self.stacked(query), self.stacked(key).transpose(1, 2)
        if at_distance is None:
            scores = torch.bmm(query, key).mul_(scale)
        else:
            scores = torch.baddbmm(at_distance, query, key, beta=scale, alpha=scale)
        if absent is not None:
            scores.unflatten(0, (self.heads, -1)).masked_fill_(absent[:, None], -torch.inf)
        return scores.softmax(dim=-1)

    def add_gradients(
        self,
        g: Tensor,
        of: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
        to: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    ) -> None:
        """Write the gradients of queries and keys, and add those of the distances.

        Args:
            g: gradient of the scores before scaling, `[heads * texts, rows, length]`.
            of: q, k, keys, queries.
            to: their gradients.
        """
        q, k, keys, queries = of
        gq, gk, g_keys, g_queries = to
        query, key = self.of_queries(q), self.of_keys(k)
        g_query = torch.bmm(g, self.stacked(key)).view(query.shape)
        g_key = torch.bmm(g.transpose(1, 2), self.stacked(query)).view(key.shape)
        if keys is not None:
            by_query = g.new_zeros(*query.shape[:2], self.width)
            self._by_query(by_query).copy_(g)
            g_query = g_query.baddbmm_(by_query, self._of_distances(keys, self.rows))
            if g_keys is not None:
                self._of_distances(g_keys, self.rows).add_(torch.bmm(by_query.transpose(1, 2), query))
        if queries is not None:
            by_key = g.new_zeros(*key.shape[:2], self.width)
            self._by_key(by_key).copy_(g)
            g_key = g_key.baddbmm_(by_key, self._of_distances(queries, self.length))
            if g_queries is not None:
                self._of_distances(g_queries, self.length).add_(torch.bmm(by_key.transpose(1, 2), key))
        self.of_queries(gq).copy_(g_query)
        self.of_keys(gk).copy_(g_key)

    def _view(self, x: Tensor, first: int, rows: int) -> Tensor:
        return x[first : first + rows].unflatten(-1, (self.heads, -1)).transpose(0, 1)

    def _of_distances(self, table: Tensor, reach: int) -> Tensor:
        """Return the rows of the group's distances, `[heads, width, head]`; the one of distance 0 is at `reach - 1`."""
        return self._view(table, (len(table) + 1) // 2 - reach, self.width)

    def _by_query(self, product: Tensor) -> Tensor:
        """Return the scores, `[heads * texts, rows, length]`, that lie in a product of queries and K: a view.

        Key j of query i has distance i - j, which is column rows - 1 - i + j.
        """
        size = (self.heads * self.seen[1], self.rows, self.length)
        return product.as_strided(size, (self.rows * self.width, self.width - 1, 1), self.rows - 1)

    def _by_key(self, product: Tensor) -> Tensor:
        """Return the scores that lie in a product of keys and Q: the distance i - j is column length - 1 + i - j."""
        size = (self.heads * self.seen[1], self.rows, self.length)
        return product.as_strided(size, (self.length * self.width, 1, self.width - 1), self.length - 1)


def _split(mask: Tensor | None, sizes: list[int]) -> list[Tensor] | list[None]:
    return [None] * len(sizes) if mask is None else list(mask.split(sizes))
