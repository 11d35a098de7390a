"""The native runtime of BERT and its kin: learnt positions, a norm after each half of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftbench.data.batches import PackedText
from peftbench.kernels.attention import attention
from peftbench.kernels.dropout import dropped
from peftbench.kernels.feed_forward import feed_forward
from peftbench.kernels.linear import FrozenWeight
from peftbench.kernels.norm import residual_norm
from peftbench.native.base import Linear, NativeEncoder, grad, has_trained


@dataclass(frozen=True, slots=True)
class _Layer:
    """The modules of one layer. A linear layer maps `[n, in]` to `[n, out]`."""

    query: Linear
    key: Linear
    value: Linear
    attention_out: Linear
    attention_norm: nn.LayerNorm
    up: Linear
    activation: Linear
    down: Linear
    norm: nn.LayerNorm


class NativeBert(NativeEncoder[_Layer]):
    """BERT, RoBERTa, XLM-RoBERTa and CamemBERT; for its arguments see `NativeEncoder`."""

    def __init__(self, encoder: nn.Module, pooling: str, **options: Any) -> None:
        parts: Any = encoder
        config = parts.config
        self.exact_gelu = config.hidden_act == "gelu"
        self.hidden_dropout: float = config.hidden_dropout_prob
        self.attention_dropout: float = config.attention_probs_dropout_prob
        self.padding: int | None = parts.embeddings.position_embeddings.padding_idx  # positions depend on it
        super().__init__(encoder, pooling, **options)

    @property
    def drops(self) -> bool:
        """Whether the embeddings or the layers have dropout in training."""
        return bool(self.hidden_dropout or self.attention_dropout)

    def prepared(self, module: Any, graph: bool) -> tuple[_Layer, bool]:
        """Prepare a layer; `graph` says whether its input has an autograd graph, and is returned for its output."""
        own, attended, up, out = module.attention.self, module.attention.output, module.intermediate, module.output
        query, key, value = (self.linear(part, graph) for part in (own.query, own.key, own.value))
        graph = graph or has_trained(own)
        attention_out = self.linear(attended.dense, graph)
        graph = graph or has_trained(attended)
        first = self.linear(up.dense, graph)
        graph = graph or has_trained(up)
        second = self.linear(out.dense, graph)
        norms = (attended.LayerNorm, out.LayerNorm)
        layer = _Layer(query, key, value, attention_out, norms[0], first, up.intermediate_act_fn, second, norms[1])
        return layer, graph or has_trained(out)

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

    def all_tokens(self, layer: _Layer, x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Compute a layer, `[tokens, hidden]`."""
        p = self.attention_dropout if training else 0.0
        attended = attention(layer.query(x), layer.key(x), layer.value(x), self.heads, text.layout, p)
        return self._layer_tail(layer, attended, x, training)

    def pooled_tokens(self, layer: _Layer, x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Compute a layer for the texts' first or last tokens, `[texts, hidden]`: others only give keys and values."""
        p = self.attention_dropout if training else 0.0
        pooled = x[self.pooled_rows(text)]
        attended = attention(layer.query(pooled), layer.key(x), layer.value(x), self.heads, text.layout, p)
        return self._layer_tail(layer, attended, pooled, training)

    def _layer_tail(self, layer: _Layer, attended: Tensor, x: Tensor, training: bool) -> Tensor:
        p = self.hidden_dropout if training else 0.0
        x = residual_norm(layer.attention_out(attended), x, layer.attention_norm, p)
        if isinstance(layer.up, FrozenWeight) and isinstance(layer.down, FrozenWeight) and self.exact_gelu:
            return residual_norm(feed_forward(x, layer.up, layer.down), x, layer.norm, p)
        return residual_norm(layer.down(layer.activation(layer.up(x))), x, layer.norm, p)


def counted_positions(text: PackedText, padding: int) -> Tensor:
    """Return RoBERTa's token positions, `[tokens]`.

    Non-padding tokens of a text are numbered from `padding + 1` on; a padding token, which a text may contain, has
    the position `padding` (transformers' `create_position_ids_from_input_ids`).
    """
    counts = (text.ids != padding).long()
    before = counts.cumsum(0) - counts  # over all texts; the count before the text's first token is subtracted below
    firsts = torch.arange(len(counts), device=counts.device) - text.positions
    return (before - before[firsts] + 1) * counts + padding
