"""The native runtime for BERT-like encoders: a forward pass without padding, using the transformers model's weights.

Differences from transformers' forward, with the same result:

- the tokens of a batch are concatenated, `[tokens, hidden]`: nothing is computed for padding;
- the last layer is computed only for the rows that the pooling reads;
- below the first trained weight there is no autograd graph, and no activations are saved;
- frozen weights are multiplied in oneDNN's own layout, and no activations are saved for their gradients.

It owns no weights. Adapters are integrated through `fast` (methods/lora.py); any other module that replaces a linear
layer is called on the token matrix unchanged, which is noted in the run's record.
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

from peftbench.data.batches import PackedText, TextSegment
from peftbench.families import FAMILIES
from peftbench.kernels.attention import attention
from peftbench.kernels.device import recomputing
from peftbench.kernels.dropout import dropped
from peftbench.kernels.feed_forward import feed_forward
from peftbench.kernels.linear import FrozenWeight, onednn, onednn_bf16, trained_linear
from peftbench.kernels.norm import residual_norm
from peftbench.methods.adapted import AdaptedLinear

ARCHITECTURES = tuple(family.encoder_class for family in FAMILIES if family.native)

Linear = Callable[[Tensor], Tensor]

_DTYPES = {  # compute dtypes of frozen and of trained weights
    "fp32": (torch.float32, torch.float32),
    "bf16": (torch.bfloat16, torch.float32),
    "autocast": (torch.bfloat16, torch.bfloat16),
    "fp16": (torch.float16, torch.float16),
}


def why_not_native(encoder: nn.Module) -> str | None:
    """Return why the native runtime does not support the encoder, or None if it does."""
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


_Compute = Callable[[_Layer, Tensor, PackedText, bool], Tensor]  # computes a layer's output


class NativeEncoder:
    """Runs a transformers encoder's weights over packed tokens.

    Args:
        encoder: on its device, with a method attached: which weights require gradients is final.
        pooling: pooler, cls or mean.
        token_types: use the token type of the second text.
        precision: fp32; bf16: frozen weights are rounded and multiplied in bf16; autocast: trained ones too, with
            fp32 master weights; fp16: the same in fp16. Everything else (attention, norms, adapters, heads) is always
            fp32.
        recomputes: gradient checkpointing: save only each layer's input, and recompute the layer in backward.
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
        self.padding: int | None = parts.embeddings.position_embeddings.padding_idx  # positions depend on it
        self.frozen: list[FrozenWeight] = []
        self.segments: Sequence[TextSegment] | None = None
        self.plain = 0  # replaced linear layers called unchanged, in fp32
        self.first_trained = first_trained_layer(encoder)
        graph = self.first_trained < 0
        self.layers: list[_Layer] = []
        for module in parts.encoder.layer:
            layer, graph = self._layer(module, graph)
            self.layers.append(layer)
        self.pooler = self._linear(parts.pooler.dense, graph) if pooling == "pooler" else None

    def _layer(self, module: Any, graph: bool) -> tuple[_Layer, bool]:
        """Prepare a layer; `graph` says whether its input has an autograd graph, and is returned for its output."""
        own, attended, up, out = module.attention.self, module.attention.output, module.intermediate, module.output
        query, key, value = (self._linear(part, graph) for part in (own.query, own.key, own.value))
        graph = graph or _has_trained(own)
        attention_out = self._linear(attended.dense, graph)
        graph = graph or _has_trained(attended)
        first = self._linear(up.dense, graph)
        graph = graph or _has_trained(up)
        second = self._linear(out.dense, graph)
        norms = (attended.LayerNorm, out.LayerNorm)
        layer = _Layer(query, key, value, attention_out, norms[0], first, up.intermediate_act_fn, second, norms[1])
        return layer, graph or _has_trained(out)

    def _linear(self, module: nn.Module, graph: bool) -> Linear:
        """Choose the fastest implementation for a linear layer or the module that replaces it."""
        if type(module) is nn.Linear:
            if _has_trained(module):
                return partial(trained_linear, linear=module, dtype=self.trained_dtype)
            return self._freeze(module, graph)
        if isinstance(module, AdaptedLinear) and all(adapter.is_fast for adapter in module.each()):
            backward = graph or any(adapter.needs_backward for adapter in module.each())
            norms = any(adapter.needs_norms for adapter in module.each())
            return partial(self._adapted, module, self._freeze(module.base, backward, norms))
        self.plain += 1
        return partial(self._adapted, module, None) if isinstance(module, AdaptedLinear) else cast("Linear", module)

    def _adapted(self, module: AdaptedLinear, base: FrozenWeight | None, x: Tensor) -> Tensor:
        """Apply the active adapter; in a mixed-task batch, each task's adapter to its rows."""
        if self.segments is not None:
            rows = [s.tokens for s in self.segments]
            if sum(rows) != len(x):
                rows = [s.texts for s in self.segments]  # the last layer's first tokens
            return module.forward_multitask(
                x, [(s.task, count) for s, count in zip(self.segments, rows, strict=True)], base
            )
        return module(x) if base is None else module.active.fast(x, base)

    def _freeze(self, linear: nn.Linear, graph: bool, norms: bool = False) -> FrozenWeight:
        weight = FrozenWeight(linear, backward=graph, dtype=self.dtype, norms=norms)
        self.frozen.append(weight)
        return weight

    def __call__(self, text: PackedText, training: bool) -> Tensor:
        """Return each text's embedding, `[texts, hidden]`, in batch order."""
        return self.finish(self.embed(text, training), 0, text, training)

    @torch.no_grad()
    def forward_multitask(self, text: PackedText, segments: Sequence[TextSegment]) -> Tensor:
        """Return the embeddings of texts of several tasks, `[texts, hidden]`, in one pass with each task's adapters."""
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
            positions = text.positions if self.padding is None else counted_positions(text, self.padding)
            x = x + F.embedding(positions, parts.position_embeddings.weight, self.padding)
            return dropped(parts.LayerNorm(x), self.hidden_dropout if training else 0.0)

    def run(self, x: Tensor, start: int, stop: int, text: PackedText, training: bool) -> Tensor:
        """Return the output of layer `stop - 1` for all tokens, from the input of layer `start`."""
        for index in range(start, stop):
            x = self._layer_output(self._all_tokens, index, x, text, training)
        return x

    def _layer_output(self, compute: _Compute, index: int, x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Compute a layer, with an autograd graph if needed, saving its activations or only its input."""
        layer = self.layers[index]
        with _grad(index >= self.first_trained):
            if not (self.recomputes and training and torch.is_grad_enabled()):
                return compute(layer, x, text, training)
            out: Tensor = checkpoint(compute, layer, x, text, training, use_reentrant=False, context_fn=recomputing)
            return out

    def finish(self, x: Tensor, start: int, text: PackedText, training: bool) -> Tensor:
        """Return each text's embedding, `[texts, hidden]`, from the input of layer `start`, `[tokens, hidden]`."""
        last = len(self.layers) - 1
        if self.pooling == "mean":
            return text.restore_order(_means(self.run(x, start, last + 1, text, training), text))
        x = self.run(x, start, last, text, training)
        x = self._layer_output(self._first_tokens, last, x, text, training)
        if self.pooler is not None:
            with _grad(self.first_trained <= last or _has_trained(self.encoder.pooler)):
                x = torch.tanh(self.pooler(x))
        return text.restore_order(x)

    def token_states(self, x: Tensor, start: int, text: PackedText, training: bool) -> Tensor:
        """Return the last layer's output for all tokens, `[tokens, hidden]`, from the input of layer `start`."""
        return self.run(x, start, len(self.layers), text, training)

    def _all_tokens(self, layer: _Layer, x: Tensor, text: PackedText, training: bool) -> Tensor:
        p = self.attention_dropout if training else 0.0
        attended = attention(layer.query(x), layer.key(x), layer.value(x), self.heads, text.layout, p)
        return self._layer_tail(layer, attended, x, training)

    def _first_tokens(self, layer: _Layer, x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Compute a layer for the texts' first tokens, `[texts, hidden]`: other tokens only give keys and values."""
        p = self.attention_dropout if training else 0.0
        first = x[text.first_tokens]
        attended = attention(layer.query(first), layer.key(x), layer.value(x), self.heads, text.layout, p)
        return self._layer_tail(layer, attended, first, training)

    def _layer_tail(self, layer: _Layer, attended: Tensor, x: Tensor, training: bool) -> Tensor:
        p = self.hidden_dropout if training else 0.0
        x = residual_norm(layer.attention_out(attended), x, layer.attention_norm, p)
        if isinstance(layer.up, FrozenWeight) and isinstance(layer.down, FrozenWeight) and self.exact_gelu:
            return residual_norm(feed_forward(x, layer.up, layer.down), x, layer.norm, p)
        return residual_norm(layer.down(layer.activation(layer.up(x))), x, layer.norm, p)

    def restore(self) -> None:
        """Restore the released weights to the encoder, so that transformers' forward works again."""
        for weight in self.frozen:
            weight.restore()

    def describe(self) -> str:
        """Describe how frozen weights are multiplied, for the run's record."""
        packed = onednn() if self.dtype == torch.float32 else onednn_bf16()
        way = "oneDNN, prepacked" if packed and self.encoder.device.type == "cpu" else "torch"
        plain = f"; {self.plain} adapted layers as they are, in fp32" if self.plain else ""
        return f"{way}, {str(self.dtype).removeprefix('torch.')}{plain}"


def counted_positions(text: PackedText, padding: int) -> Tensor:
    """Return RoBERTa's token positions, `[tokens]`.

    Non-padding tokens of a text are numbered from `padding + 1` on; a padding token, which a text may contain, has
    the position `padding` (transformers' `create_position_ids_from_input_ids`).
    """
    counts = (text.ids != padding).long()
    before = counts.cumsum(0) - counts  # over all texts; the count before the text's first token is subtracted below
    firsts = torch.arange(len(counts), device=counts.device) - text.positions
    return (before - before[firsts] + 1) * counts + padding


def first_trained_layer(encoder: nn.Module) -> int:
    """Return the index of the first layer with a trained weight; -1 for the embeddings, the layer count for none.

    A trained pooler counts as none: its input has no autograd graph.
    """
    parts: Any = encoder
    if _has_trained(parts.embeddings):
        return -1
    layers = list(parts.encoder.layer)
    return next((index for index, layer in enumerate(layers) if _has_trained(layer)), len(layers))


def _has_trained(module: nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters())


def _grad(wanted: bool) -> Any:
    return nullcontext() if wanted else torch.no_grad()


def _means(x: Tensor, text: PackedText) -> Tensor:
    """Return the mean over each text's tokens, `[texts, hidden]`, in the order of the layout."""
    parts = [
        x[first : first + count * length].view(count, length, -1).mean(dim=1)
        for first, count, length in text.layout.groups
    ]
    return torch.cat(parts)
