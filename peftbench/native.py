"""The native path of BERT-shaped encoders: the weights of transformers' model over tokens without padding.

What it does otherwise than transformers' forward, with the same result:

- the tokens of a batch lie end to end, `[tokens, hidden]`: nothing is computed for padding;
- the last layer is computed only for the rows that the pooling reads;
- no graph below the first trained weight, and nothing saved there;
- frozen weights are multiplied in oneDNN's own layout, and backward keeps nothing for them.

It owns no weight. Adapters join it by `fast` (methods/lora.py); any other module in a linear layer's place is called
on the token matrix as it is, and the run's record says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from peftbench.data.batches import PackedText, Segment
from peftbench.kernels.attention import attention
from peftbench.kernels.dropout import dropped
from peftbench.kernels.feed_forward import feed_forward
from peftbench.kernels.linear import FrozenWeight, onednn, onednn_bf16, trained_linear
from peftbench.kernels.norm import residual_norm
from peftbench.kernels.place import recomputing
from peftbench.methods.lora import AdaptedLinear

ARCHITECTURES = ("BertModel", "RobertaModel", "XLMRobertaModel", "CamembertModel")

Linear = Callable[[Tensor], Tensor]

_DTYPES = {  # what frozen and trained weights are multiplied in
    "fp32": (torch.float32, torch.float32),
    "bf16": (torch.bfloat16, torch.float32),
    "autocast": (torch.bfloat16, torch.bfloat16),
    "fp16": (torch.float16, torch.float16),
}


def why_not_native(encoder: nn.Module) -> str | None:
    """Return why the encoder has no native path, or None where it has one."""
    name = type(encoder).__name__
    if name not in ARCHITECTURES:
        return f"{name} is not BERT-shaped ({', '.join(ARCHITECTURES)})"
    config = encoder.config
    if getattr(config, "is_decoder", False):
        return f"{name} is a decoder here"
    kind = getattr(config, "position_embedding_type", "absolute")
    return None if kind in (None, "absolute") else f"{name} has {kind} positions"


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer's parts. A linear layer maps `[n, in]` to `[n, out]`."""

    query: Linear
    key: Linear
    value: Linear
    attention_out: Linear
    attention_norm: nn.LayerNorm
    up: Linear
    activation: Linear
    down: Linear
    norm: nn.LayerNorm


_Compute = Callable[[_Layer, Tensor, PackedText, bool], Tensor]  # a layer's output for tokens


class NativeEncoder:
    """Runs a transformers encoder's weights over packed tokens.

    Args:
        encoder: on its device, with a method attached: what requires gradients will not change any more.
        pooling: how a text becomes one vector: pooler, cls or mean.
        token_types: pass the second text's type on.
        precision: fp32; bf16: frozen weights are rounded and multiplied in bf16; autocast: trained ones too, whose
            own copy stays in fp32; fp16: the same in fp16. Everything else (attention, norms, adapters, heads) is fp32
            in each.
        recomputes: keep of each layer only its input while training, and compute the layer anew in backward.
    """

    def __init__(
        self,
        encoder: nn.Module,
        pooling: str,
        *,
        token_types: bool,
        precision: str = "fp32",
        recomputes: bool = False,
    ) -> None:
        parts = cast("Any", encoder)
        self.encoder = parts
        self.pooling = pooling
        self.token_types = token_types
        self.recomputes = recomputes
        self.dtype, self.trained_dtype = _DTYPES[precision]
        config = parts.config
        self.heads: int = config.num_attention_heads
        self.exact_gelu = config.hidden_act == "gelu"
        self.hidden_dropout: float = config.hidden_dropout_prob
        self.attention_dropout: float = config.attention_probs_dropout_prob
        self.first_position = 0 if type(encoder).__name__ == "BertModel" else config.pad_token_id + 1  # as RoBERTa's
        self.frozen: list[FrozenWeight] = []
        self.segments: Sequence[Segment] | None = None
        self.plain = 0  # modules in a linear layer's place that are called as they are, in fp32
        self.first_trained = first_trained_layer(encoder)
        graph = self.first_trained < 0
        self.layers: list[_Layer] = []
        for module in parts.encoder.layer:
            layer, graph = self._layer(module, graph)
            self.layers.append(layer)
        self.pooler = self._linear(parts.pooler.dense, graph) if pooling == "pooler" else None

    def _layer(self, module: Any, graph: bool) -> tuple[_Layer, bool]:
        """Prepare a layer; `graph` tells whether its input has one, and comes back for its output."""
        own, attended, up, out = module.attention.self, module.attention.output, module.intermediate, module.output
        query, key, value = (self._linear(part, graph) for part in (own.query, own.key, own.value))
        graph = graph or _trains(own)
        attention_out = self._linear(attended.dense, graph)
        graph = graph or _trains(attended)
        first = self._linear(up.dense, graph)
        graph = graph or _trains(up)
        second = self._linear(out.dense, graph)
        norms = (attended.LayerNorm, out.LayerNorm)
        layer = _Layer(query, key, value, attention_out, norms[0], first, up.intermediate_act_fn, second, norms[1])
        return layer, graph or _trains(out)

    def _linear(self, module: nn.Module, graph: bool) -> Linear:
        """Choose the fastest way to compute a module in a linear layer's place."""
        if type(module) is nn.Linear:
            if _trains(module):
                return partial(trained_linear, linear=module, dtype=self.trained_dtype)
            return self._freeze(module, graph)
        if isinstance(module, AdaptedLinear) and all(adapter.is_fast() for adapter in module.each()):
            backward = graph or any(adapter.needs_backward for adapter in module.each())
            return partial(self._adapted, module, self._freeze(module.base, backward))
        self.plain += 1
        return partial(self._adapted, module, None) if isinstance(module, AdaptedLinear) else cast("Linear", module)

    def _adapted(self, module: AdaptedLinear, base: FrozenWeight | None, x: Tensor) -> Tensor:
        """Apply the active adapter; in a batch of several tasks, each task's own to its rows."""
        if self.segments is not None:
            rows = [s.tokens for s in self.segments]
            if sum(rows) != len(x):
                rows = [s.texts for s in self.segments]  # the last layer's first tokens
            return module.mixed(x, [(s.task, count) for s, count in zip(self.segments, rows, strict=True)], base)
        return module(x) if base is None else module.active.fast(x, base)

    def _freeze(self, linear: nn.Linear, graph: bool) -> FrozenWeight:
        weight = FrozenWeight(linear, backward=graph, dtype=self.dtype)
        self.frozen.append(weight)
        return weight

    def __call__(self, text: PackedText, training: bool) -> Tensor:
        """Return each text's vector, `[texts, hidden]`, in the order of the batch."""
        return self.finish(self.embed(text, training), 0, text, training)

    @torch.no_grad()
    def mixed(self, text: PackedText, segments: Sequence[Segment]) -> Tensor:
        """Return the vectors of texts of several tasks, `[texts, hidden]`, each with its task's adapters; one pass."""
        self.segments = segments
        try:
            return self(text, training=False)
        finally:
            self.segments = None

    def embed(self, text: PackedText, training: bool) -> Tensor:
        """Return the first layer's input, `[tokens, hidden]`."""
        parts = self.encoder.embeddings
        with _grad(self.first_trained < 0):
            x = F.embedding(text.ids, parts.word_embeddings.weight, parts.word_embeddings.padding_idx)
            types = text.types if self.token_types else torch.zeros_like(text.ids)
            x = x + F.embedding(types, parts.token_type_embeddings.weight)
            x = x + F.embedding(text.positions + self.first_position, parts.position_embeddings.weight)
            return dropped(parts.LayerNorm(x), self.hidden_dropout if training else 0.0)

    def run(self, x: Tensor, start: int, stop: int, text: PackedText, training: bool) -> Tensor:
        """Return the output of layer `stop - 1` for all tokens, from the input of layer `start`."""
        for index in range(start, stop):
            x = self._layer_output(self._all_tokens, index, x, text, training)
        return x

    def _layer_output(self, compute: _Compute, index: int, x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Compute a layer, with a graph where it needs one; kept, or only its input."""
        layer = self.layers[index]
        with _grad(index >= self.first_trained):
            if not (self.recomputes and training and torch.is_grad_enabled()):
                return compute(layer, x, text, training)
            out: Tensor = checkpoint(compute, layer, x, text, training, use_reentrant=False, context_fn=recomputing)
            return out

    def finish(self, x: Tensor, start: int, text: PackedText, training: bool) -> Tensor:
        """Return each text's vector, `[texts, hidden]`, from the input of layer `start`, `[tokens, hidden]`."""
        last = len(self.layers) - 1
        if self.pooling == "mean":
            return text.restore_order(_means(self.run(x, start, last + 1, text, training), text))
        x = self.run(x, start, last, text, training)
        x = self._layer_output(self._first_tokens, last, x, text, training)
        if self.pooler is not None:
            with _grad(self.first_trained <= last or _trains(self.encoder.pooler)):
                x = torch.tanh(self.pooler(x))
        return text.restore_order(x)

    def _all_tokens(self, layer: _Layer, x: Tensor, text: PackedText, training: bool) -> Tensor:
        p = self.attention_dropout if training else 0.0
        attended = attention(layer.query(x), layer.key(x), layer.value(x), self.heads, text.layout, p)
        return self._rest(layer, attended, x, training)

    def _first_tokens(self, layer: _Layer, x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Compute a layer for the texts' first tokens, `[texts, hidden]`: only keys and values need the others."""
        p = self.attention_dropout if training else 0.0
        first = x[text.first_tokens]
        attended = attention(layer.query(first), layer.key(x), layer.value(x), self.heads, text.layout, p)
        return self._rest(layer, attended, first, training)

    def _rest(self, layer: _Layer, attended: Tensor, x: Tensor, training: bool) -> Tensor:
        p = self.hidden_dropout if training else 0.0
        x = residual_norm(layer.attention_out(attended), x, layer.attention_norm, p)
        if isinstance(layer.up, FrozenWeight) and isinstance(layer.down, FrozenWeight) and self.exact_gelu:
            return residual_norm(feed_forward(x, layer.up, layer.down), x, layer.norm, p)
        return residual_norm(layer.down(layer.activation(layer.up(x))), x, layer.norm, p)

    def restore(self) -> None:
        """Give the released weights back to the encoder, so that transformers' forward works again."""
        for weight in self.frozen:
            weight.restore()

    def describe(self) -> str:
        """Say what the frozen weights are multiplied with, for the run's record."""
        packed = onednn() if self.dtype == torch.float32 else onednn_bf16()
        way = "oneDNN, prepacked" if packed and self.encoder.device.type == "cpu" else "torch"
        plain = f"; {self.plain} adapted layers as they are, in fp32" if self.plain else ""
        return f"{way}, {str(self.dtype).removeprefix('torch.')}{plain}"


def first_trained_layer(encoder: nn.Module) -> int:
    """Return the first layer with a trained weight; -1: the embeddings; past the last one: none.

    The pooler counts as past the last layer: what it reads has no graph.
    """
    parts: Any = encoder
    if _trains(parts.embeddings):
        return -1
    layers = list(parts.encoder.layer)
    return next((index for index, layer in enumerate(layers) if _trains(layer)), len(layers))


def _trains(module: nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters())


def _grad(wanted: bool) -> Any:
    return nullcontext() if wanted else torch.no_grad()


def _means(x: Tensor, text: PackedText) -> Tensor:
    """Return the mean over each text's tokens, `[texts, hidden]`, sorted as the layout is."""
    parts = [
        x[first : first + count * length].view(count, length, -1).mean(dim=1)
        for first, count, length in text.layout.groups
    ]
    return torch.cat(parts)
