"""The native runtime of ModernBERT: rotary positions, a gated feed-forward, attention within a window, norms before.

Warner et al. 2024, arXiv 2412.13663, section 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftbench.data.batches import PackedText
from peftbench.kernels.attention import attention
from peftbench.kernels.dropout import dropped
from peftbench.kernels.feed_forward import gated_feed_forward
from peftbench.kernels.linear import FrozenWeight
from peftbench.kernels.rotary import rotated
from peftbench.native.base import Linear, NativeEncoder, grad, has_trained


@dataclass(frozen=True, slots=True)
class _Layer:
    """The modules of one layer. A linear layer maps `[n, in]` to `[n, out]`; of the first, `attention_norm` is None.

    kind: of its attention and positions, `full_attention` or `sliding_attention`.
    window: how far from a token those are that it attends to; None: all are.
    """

    attention_norm: nn.LayerNorm | None
    qkv: Linear
    attention_out: Linear
    norm: nn.LayerNorm
    up: Linear
    activation: Linear
    down: Linear
    kind: str
    window: int | None


class NativeModernBert(NativeEncoder[_Layer]):
    """ModernBERT; for its arguments see `NativeEncoder`."""

    def __init__(self, encoder: nn.Module, pooling: str, **options: Any) -> None:
        parts: Any = encoder
        config = parts.config
        self.embedding_dropout: float = config.embedding_dropout
        self.attention_dropout: float = config.attention_dropout
        self.mlp_dropout: float = config.mlp_dropout
        self.exact_gelu = config.hidden_activation == "gelu"
        super().__init__(encoder, pooling, **options)

    @property
    def drops(self) -> bool:
        """Whether the embeddings or the layers have dropout in training."""
        return bool(self.embedding_dropout or self.attention_dropout or self.mlp_dropout)

    def prepared(self, module: Any, graph: bool) -> tuple[_Layer, bool]:
        """Prepare a layer; `graph` says whether its input has an autograd graph, and is returned for its output."""
        own, mlp = module.attn, module.mlp
        norm = None if isinstance(module.attn_norm, nn.Identity) else module.attn_norm
        qkv = self.linear(own.Wqkv, graph or has_trained(module.attn_norm))
        graph = graph or has_trained(module.attn_norm) or has_trained(own.Wqkv)
        attention_out = self.linear(own.Wo, graph)
        graph = graph or has_trained(own.Wo) or has_trained(module.mlp_norm)
        up = self.linear(mlp.Wi, graph)
        down = self.linear(mlp.Wo, graph or has_trained(mlp.Wi))
        window = None if own.sliding_window is None else own.sliding_window - 1
        layer = _Layer(norm, qkv, attention_out, module.mlp_norm, up, mlp.act, down, module.attention_type, window)
        return layer, graph or has_trained(mlp)

    def embed(self, text: PackedText, training: bool) -> Tensor:
        """Return the first layer's input, `[tokens, hidden]`."""
        parts = self.encoder.embeddings
        with grad(self.first_trained < 0):
            x = F.embedding(text.ids, parts.tok_embeddings.weight, parts.tok_embeddings.padding_idx)
            return dropped(parts.norm(x), self.embedding_dropout if training else 0.0)

    def all_tokens(self, layer: _Layer, x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Compute a layer, `[tokens, hidden]`."""
        return self._tail(layer, self._attended(layer, x, text, training, first=False), x, training)

    def pooled_tokens(self, layer: _Layer, x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Compute a layer for the texts' first or last tokens, `[texts, hidden]`: others only give keys and values."""
        if self.pooling == "last":  # its window is another than the first token's
            return self.all_tokens(layer, x, text, training)[text.last_tokens]
        attended = self._attended(layer, x, text, training, first=True)
        return self._tail(layer, attended, x[text.first_tokens], training)

    def _attended(self, layer: _Layer, x: Tensor, text: PackedText, training: bool, *, first: bool) -> Tensor:
        normed = x if layer.attention_norm is None else layer.attention_norm(x)
        query, key, value = layer.qkv(normed).chunk(3, dim=-1)
        cos, sin = self._positions(layer.kind, text)
        key = rotated(key, cos, sin, self.heads)
        # at position 0 there is nothing to rotate
        query = query[text.first_tokens] if first else rotated(query, cos, sin, self.heads)
        p = self.attention_dropout if training else 0.0
        return attention(query, key, value, self.heads, text.layout, p, layer.window)

    @torch.no_grad()
    def _positions(self, kind: str, text: PackedText) -> tuple[Tensor, Tensor]:
        """Return cosine and sine of each token's angles, `[tokens, head]`."""
        positions = torch.arange(text.layout.longest, device=text.ids.device)[None]
        cos, sin = self.encoder.rotary_emb(self.encoder.final_norm.weight, positions, kind)
        return cos[0][text.positions], sin[0][text.positions]

    def _tail(self, layer: _Layer, attended: Tensor, x: Tensor, training: bool) -> Tensor:
        x = x + dropped(layer.attention_out(attended), self.attention_dropout if training else 0.0)
        p, normed = self.mlp_dropout if training else 0.0, layer.norm(x)
        if isinstance(layer.up, FrozenWeight) and isinstance(layer.down, FrozenWeight) and self.exact_gelu and not p:
            return x + gated_feed_forward(normed, layer.up, layer.down)
        inner, gate = layer.up(normed).chunk(2, dim=-1)
        return x + layer.down(dropped(layer.activation(inner) * gate, p))

    def last_norm(self, x: Tensor) -> Tensor:
        """Return the final norm of rows of the last layer."""
        normed: Tensor = self.encoder.final_norm(x)
        return normed
