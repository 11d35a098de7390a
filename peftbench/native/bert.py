"""The native runtime of BERT and its kin: learnt positions, a norm after each half of a layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftbench.data.batches import PackedText
from peftbench.kernels.attention import attention
from peftbench.kernels.dropout import dropped
from peftbench.native.base import Linear, grad, has_trained
from peftbench.native.post_norm import PostNormEncoder


class _Attention(NamedTuple):
    """The projections of one layer, each from `[n, in]` to `[n, out]`."""

    query: Linear
    key: Linear
    value: Linear


class NativeBert(PostNormEncoder[_Attention]):
    """BERT, RoBERTa, XLM-RoBERTa and CamemBERT; for its arguments see `NativeEncoder`."""

    def __init__(self, encoder: nn.Module, pooling: str, **options: Any) -> None:
        parts: Any = encoder
        self.padding: int | None = parts.embeddings.position_embeddings.padding_idx  # positions depend on it
        super().__init__(encoder, pooling, **options)

    def prepared_attention(self, module: Any, graph: bool) -> tuple[_Attention, bool]:
        """Prepare a layer's attention; `graph` is as of `prepared`."""
        parts = _Attention(*(self.linear(part, graph) for part in (module.query, module.key, module.value)))
        return parts, graph or has_trained(module)

    def embed(self, text: PackedText, training: bool) -> Tensor:
        """Return the first layer's input, `[tokens, hidden]`."""
        parts = self.encoder.embeddings
        with grad(self.first_trained < 0):
            x = F.embedding(text.ids, parts.word_embeddings.weight, parts.word_embeddings.padding_idx)
            types = text.types if self.token_types else torch.zeros_like(text.ids)
            x = x + F.embedding(types, parts.token_type_embeddings.weight)
            positions = text.positions if self.padding is None else counted_positions(text, self.padding)
            x = x + F.embedding(positions, parts.position_embeddings.weight, self.padding)
            return dropped(parts.LayerNorm(x), self.hidden_dropout if training else 0.0)

    def attended(self, parts: _Attention, queries: Tensor, x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Return a layer's attention before its output layer, `[n, hidden]`."""
        p = self.attention_dropout if training else 0.0
        return attention(parts.query(queries), parts.key(x), parts.value(x), self.heads, text.layout, p)


def counted_positions(text: PackedText, padding: int) -> Tensor:
    """Return RoBERTa's token positions, `[tokens]`.

    Non-padding tokens of a text are numbered from `padding + 1` on; a padding token, which a text may contain, has
    the position `padding` (transformers' `create_position_ids_from_input_ids`).
    """
    counts = (text.ids != padding).long()
    before = counts.cumsum(0) - counts  # over all texts; the count before the text's first token is subtracted below
    firsts = torch.arange(len(counts), device=counts.device) - text.positions
    return (before - before[firsts] + 1) * counts + padding
