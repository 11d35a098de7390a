"""The native runtime of DeBERTa v2 and v3: attention that also scores the distance of tokens.

He et al. 2021, arXiv 2006.03654 (disentangled attention) and arXiv 2111.09543 (v3).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftbench.data.batches import PackedText, TextSegment
from peftbench.kernels.disentangled import Distances, disentangled_attention
from peftbench.kernels.dropout import dropped
from peftbench.native.base import Linear, grad, has_trained, shared_modules
from peftbench.native.post_norm import PostNormEncoder, PostNormLayer


class _Attention(NamedTuple):
    """The projections of one layer, each from `[n, in]` to `[n, out]`; of distances None where there is none.

    With `share_att_key` those of distances are the layer's own query and key.
    """

    query: Linear
    key: Linear
    value: Linear
    distance_key: Linear | None
    distance_query: Linear | None


class NativeDeberta(PostNormEncoder[_Attention]):
    """DeBERTa v2 and v3 without a convolution; for its arguments see `NativeEncoder`."""

    def __init__(self, encoder: nn.Module, pooling: str, **options: Any) -> None:
        parts: Any = encoder
        self.shared = parts.encoder  # has the embeddings of distances, which all layers share
        kinds = parts.config.pos_att_type or ()
        self.to_distances, self.from_distances = "c2p" in kinds, "p2c" in kinds
        self.is_relative: bool = self.shared.relative_attention
        self.trains_distances = any(has_trained(module) for module in shared_modules(encoder))
        super().__init__(encoder, pooling, **options)

    def prepared_attention(self, module: Any, graph: bool) -> tuple[_Attention, bool]:
        """Prepare a layer's attention; `graph` is as of `prepared`."""
        shares = self.is_relative and module.share_att_key
        graph_of_distances = self.is_relative and self.trains_distances
        query, key = (
            self.linear(part, graph or (shares and graph_of_distances)) for part in (module.query_proj, module.key_proj)
        )
        of_distances: list[Linear | None] = []
        for wanted, own, name in (
            (self.to_distances, key, "pos_key_proj"),
            (self.from_distances, query, "pos_query_proj"),
        ):
            if not (wanted and self.is_relative):
                of_distances.append(None)
            else:
                of_distances.append(own if shares else self.linear(getattr(module, name), graph_of_distances))
        parts = _Attention(query, key, self.linear(module.value_proj, graph), *of_distances)
        return parts, graph or has_trained(module) or graph_of_distances

    def embed(self, text: PackedText, training: bool) -> Tensor:
        """Return the first layer's input, `[tokens, hidden]`."""
        parts = self.encoder.embeddings
        with grad(self.first_trained < 0):
            x = F.embedding(text.ids, parts.word_embeddings.weight, parts.word_embeddings.padding_idx)
            if parts.position_embeddings is not None:
                x = x + F.embedding(text.positions, parts.position_embeddings.weight)
            if parts.token_type_embeddings is not None:
                types = text.types if self.token_types else torch.zeros_like(text.ids)
                x = x + F.embedding(types, parts.token_type_embeddings.weight)
            if parts.embed_proj is not None:
                x = parts.embed_proj(x)
            return dropped(parts.LayerNorm(x), self.hidden_dropout if training else 0.0)

    def pooled_tokens(self, layer: PostNormLayer[_Attention], x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Compute a layer for the texts' first or last tokens, `[texts, hidden]`: others only give keys and values."""
        if self.pooling == "last":  # its distances are others than the first token's
            return self.all_tokens(layer, x, text, training)[text.last_tokens]
        return super().pooled_tokens(layer, x, text, training)

    def attended(self, parts: _Attention, queries: Tensor, x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Return a layer's attention before its output layer, `[n, hidden]`."""
        p = self.attention_dropout if training else 0.0
        q, k, v = parts.query(queries), parts.key(x), parts.value(x)
        scale = (q.shape[1] // self.heads * (1 + self.to_distances + self.from_distances)) ** -0.5
        tables = self._distances(parts, text.layout.longest, training)
        if self.segments is None:
            return disentangled_attention(q, k, v, tables[0], self.heads, text.layout, p, scale)
        layouts = text.layout.parts([segment.texts for segment in self.segments])
        of_keys = [layout.rows for layout in layouts]
        of_queries = of_keys if len(q) == len(k) else [layout.texts for layout in layouts]
        rows = ((q, of_queries), (k, of_keys), (v, of_keys))
        parts_of_tasks = zip(*(torch.split(x, sizes) for x, sizes in rows), tables, layouts, strict=True)
        return torch.cat(
            [
                disentangled_attention(q, k, v, table, self.heads, layout, p, scale)
                for q, k, v, table, layout in parts_of_tasks
            ]
        )

    def _distances(self, parts: _Attention, longest: int, training: bool) -> list[Distances]:
        """Return the projections for all distances within `longest` tokens; of a mixed batch one for each task."""
        count = 1 if self.segments is None else len(self.segments)
        keys: list[Tensor | None] = [None] * count
        queries = keys
        if parts.distance_key is None and parts.distance_query is None:
            return [Distances(None, None)] * count
        table, index = self._table(longest)
        table = dropped(table, self.hidden_dropout if training else 0.0)
        if parts.distance_key is not None:
            keys = [_at(x, index).flip(0) for x in self._projected(parts.distance_key, table)]
        if parts.distance_query is not None:
            queries = [_at(x, index) for x in self._projected(parts.distance_query, table)]
        return [Distances(*each) for each in zip(keys, queries, strict=True)]

    def _table(self, longest: int) -> tuple[Tensor, Tensor | None]:
        """Return embeddings of distances, `[n, hidden]`, and which of them those of 1 - longest to longest - 1 are.

        Within the distances that have an embedding each, they are these in their order, and the second is None.
        """
        shared = self.shared
        buckets, reach = shared.position_buckets, shared.max_relative_positions
        span = buckets if buckets > 0 else reach
        own = buckets // 2 if buckets > 0 else span - 1  # largest distance with an embedding of its own
        weight, index = shared.rel_embeddings.weight, None
        if longest - 1 <= own:
            weight = weight[span - longest + 1 : span + longest]
        else:
            distances = torch.arange(1 - longest, longest, device=weight.device)
            if buckets > 0:
                from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

                distances = make_log_bucket_position(distances, buckets, reach).long()
            index = (distances + span).clamp(0, 2 * span - 1)
        return (shared.LayerNorm(weight) if "layer_norm" in shared.norm_rel_ebd else weight), index

    def _projected(self, project: Linear, table: Tensor) -> list[Tensor]:
        """Return the table's projection; of a mixed batch one for each task, with its adapters."""
        if self.segments is None:
            return [project(table)]
        texts = self.segments
        self.segments = [TextSegment(segment.task, 0, len(table)) for segment in texts]
        try:
            return list(torch.split(project(table.repeat(len(texts), 1)), len(table)))
        finally:
            self.segments = texts


def _at(x: Tensor, index: Tensor | None) -> Tensor:
    return x if index is None else x[index]
