"""What BERT and DeBERTa share: each half of a layer ends in LayerNorm(residual + dropout(h))."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from peftbench.data.batches import PackedText
from peftbench.kernels.feed_forward import feed_forward
from peftbench.kernels.linear import FrozenWeight
from peftbench.kernels.norm import residual_norm
from peftbench.native.base import Linear, NativeEncoder, has_trained

Attention = TypeVar("Attention")  # the modules of a layer's attention, up to its output


@dataclass(frozen=True, slots=True)
class PostNormLayer(Generic[Attention]):
    """The modules of one layer. A linear layer maps `[n, in]` to `[n, out]`."""

    attention: Attention
    attention_out: Linear
    attention_norm: nn.LayerNorm
    up: Linear
    activation: Linear
    down: Linear
    norm: nn.LayerNorm


class PostNormEncoder(NativeEncoder[PostNormLayer[Attention]]):
    """An encoder of such layers; for its arguments see `NativeEncoder`."""

    def __init__(self, encoder: nn.Module, pooling: str, **options: Any) -> None:
        parts: Any = encoder
        config = parts.config
        self.exact_gelu = config.hidden_act == "gelu"
        self.hidden_dropout: float = config.hidden_dropout_prob
        self.attention_dropout: float = config.attention_probs_dropout_prob
        super().__init__(encoder, pooling, **options)

    @property
    def drops(self) -> bool:
        """Whether the embeddings or the layers have dropout in training."""
        return bool(self.hidden_dropout or self.attention_dropout)

    @abstractmethod
    def prepared_attention(self, module: Any, graph: bool) -> tuple[Attention, bool]:
        """Prepare a layer's attention; `graph` is as of `prepared`."""

    @abstractmethod
    def attended(self, attention: Attention, queries: Tensor, x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Return a layer's attention before its output layer, `[n, hidden]`.

        Args:
            attention: its modules.
            queries: `[tokens, hidden]`, or `[texts, hidden]`: the input of the rows of `pooled_rows`.
            x: the layer's input, `[tokens, hidden]`.
            text: the positions of the texts.
            training: with dropout.
        """

    def prepared(self, module: Any, graph: bool) -> tuple[PostNormLayer[Attention], bool]:
        """Prepare a layer; `graph` says whether its input has an autograd graph, and is returned for its output."""
        attended, up, out = module.attention.output, module.intermediate, module.output
        attention, graph = self.prepared_attention(module.attention.self, graph)
        attention_out = self.linear(attended.dense, graph)
        graph = graph or has_trained(attended)
        first = self.linear(up.dense, graph)
        graph = graph or has_trained(up)
        second = self.linear(out.dense, graph)
        norms = (attended.LayerNorm, out.LayerNorm)
        layer = PostNormLayer(attention, attention_out, norms[0], first, up.intermediate_act_fn, second, norms[1])
        return layer, graph or has_trained(out)

    def all_tokens(self, layer: PostNormLayer[Attention], x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Compute a layer, `[tokens, hidden]`."""
        return self._tail(layer, self.attended(layer.attention, x, x, text, training), x, training)

    def pooled_tokens(self, layer: PostNormLayer[Attention], x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Compute a layer for the texts' first or last tokens, `[texts, hidden]`: others only give keys and values."""
        pooled = x[self.pooled_rows(text)]
        return self._tail(layer, self.attended(layer.attention, pooled, x, text, training), pooled, training)

    def _tail(self, layer: PostNormLayer[Attention], attended: Tensor, x: Tensor, training: bool) -> Tensor:
        p = self.hidden_dropout if training else 0.0
        x = residual_norm(layer.attention_out(attended), x, layer.attention_norm, p)
        if isinstance(layer.up, FrozenWeight) and isinstance(layer.down, FrozenWeight) and self.exact_gelu:
            return residual_norm(feed_forward(x, layer.up, layer.down), x, layer.norm, p)
        return residual_norm(layer.down(layer.activation(layer.up(x))), x, layer.norm, p)
