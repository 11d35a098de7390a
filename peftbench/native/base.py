"""The native runtime: a forward pass without padding, using the weights of transformers' model.

Differences from transformers' forward, with the same result:

- the tokens of a batch are concatenated, `[tokens, hidden]`: nothing is computed for padding;
- the last layer is computed only for the rows that the pooling reads;
- below the first trained weight there is no autograd graph, and no activations are saved;
- frozen weights are multiplied in oneDNN's own layout, and no activations are saved for their gradients.

It owns no weights. Adapters are integrated through `fast` (methods/lora.py); any other module that replaces a linear
layer is called on the token matrix unchanged, which is noted in the run's record. What differs between architectures
is in a subclass each (`bert`, `deberta`, `modernbert`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from peftbench.data.batches import PackedText, TextSegment
from peftbench.kernels.device import recomputing
from peftbench.kernels.linear import FrozenWeight, onednn, onednn_bf16, trained_linear
from peftbench.methods.adapted import AdaptedLinear

Linear = Callable[[Tensor], Tensor]

_DTYPES = {  # compute dtypes of frozen and of trained weights
    "fp32": (torch.float32, torch.float32),
    "bf16": (torch.bfloat16, torch.float32),
    "autocast": (torch.bfloat16, torch.bfloat16),
    "fp16": (torch.float16, torch.float16),
}


Layer = TypeVar("Layer")  # the modules of one layer of an architecture


class NativeEncoder(ABC, Generic[Layer]):
    """Runs a transformers encoder's weights over packed tokens.

    Args:
        encoder: on its device, with a method attached: which weights require gradients is final.
        pooling: pooler, cls, mean or last.
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
        self.heads: int = parts.config.num_attention_heads
        self.frozen: list[FrozenWeight] = []
        self.segments: Sequence[TextSegment] | None = None
        self.plain = 0  # replaced linear layers called unchanged, in fp32
        self.first_trained = first_trained_layer(encoder)
        graph = self.first_trained < 0
        self.layers: list[Layer] = []
        for module in layers_of(encoder):
            layer, graph = self.prepared(module, graph)
            self.layers.append(layer)
        self.pooler = self.linear(parts.pooler.dense, graph) if pooling == "pooler" else None

    @property
    @abstractmethod
    def drops(self) -> bool:
        """Whether the embeddings or the layers have dropout in training."""

    @abstractmethod
    def prepared(self, module: Any, graph: bool) -> tuple[Layer, bool]:
        """Prepare a layer; `graph` says whether its input has an autograd graph, and is returned for its output."""

    @abstractmethod
    def embed(self, text: PackedText, training: bool) -> Tensor:
        """Return the first layer's input, `[tokens, hidden]`."""

    @abstractmethod
    def all_tokens(self, layer: Layer, x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Compute a layer, `[tokens, hidden]`."""

    @abstractmethod
    def pooled_tokens(self, layer: Layer, x: Tensor, text: PackedText, training: bool) -> Tensor:
        """Compute a layer for the texts' first or last tokens, `[texts, hidden]`: others only give keys and values."""

    def pooled_rows(self, text: PackedText) -> Tensor:
        """Return the row of the token of each text that stands for it, `[texts]`."""
        return text.last_tokens if self.pooling == "last" else text.first_tokens

    def last_norm(self, x: Tensor) -> Tensor:
        """Return what follows the last layer, of any of its rows; post-norm architectures have nothing."""
        return x

    def linear(self, module: nn.Module, graph: bool) -> Linear:
        """Choose the fastest implementation for a linear layer or the module that replaces it."""
        if type(module) is nn.Linear:
            if has_trained(module):
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
                rows = [s.texts for s in self.segments]  # the last layer's first or last tokens
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

    def run(self, x: Tensor, start: int, stop: int, text: PackedText, training: bool) -> Tensor:
        """Return the output of layer `stop - 1` for all tokens, from the input of layer `start`."""
        for index in range(start, stop):
            x = self._layer_output(self.all_tokens, index, x, text, training)
        return x

    def _layer_output(
        self, compute: Callable[..., Tensor], index: int, x: Tensor, text: PackedText, training: bool
    ) -> Tensor:
        """Compute a layer, with an autograd graph if needed, saving its activations or only its input."""
        layer = self.layers[index]
        with grad(index >= self.first_trained):
            if not (self.recomputes and training and torch.is_grad_enabled()):
                return compute(layer, x, text, training)
            out: Tensor = checkpoint(compute, layer, x, text, training, use_reentrant=False, context_fn=recomputing)
            return out

    def finish(self, x: Tensor, start: int, text: PackedText, training: bool) -> Tensor:
        """Return each text's embedding, `[texts, hidden]`, from the input of layer `start`, `[tokens, hidden]`."""
        last = len(self.layers) - 1
        if self.pooling == "mean":
            return text.restore_order(_means(self.token_states(x, start, text, training), text))
        x = self.run(x, start, last, text, training)
        x = self._finished(self._layer_output(self.pooled_tokens, last, x, text, training))
        if self.pooler is not None:
            with grad(self.first_trained <= last or has_trained(self.encoder.pooler)):
                x = torch.tanh(self.pooler(x))
        return text.restore_order(x)

    def token_states(self, x: Tensor, start: int, text: PackedText, training: bool) -> Tensor:
        """Return the last layer's output for all tokens, `[tokens, hidden]`, from the input of layer `start`."""
        return self._finished(self.run(x, start, len(self.layers), text, training))

    def _finished(self, x: Tensor) -> Tensor:
        with grad(self.first_trained < len(self.layers)):
            return self.last_norm(x)

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


def first_trained_layer(encoder: nn.Module) -> int:
    """Return the index of the first layer with a trained weight; -1 for the embeddings, the layer count for none.

    A weight that all layers share is part of the first. A trained pooler counts as none: its input has no autograd
    graph.
    """
    parts: Any = encoder
    if has_trained(parts.embeddings):
        return -1
    if any(has_trained(module) for module in shared_modules(encoder)):
        return 0
    layers = list(layers_of(encoder))
    return next((index for index, layer in enumerate(layers) if has_trained(layer)), len(layers))


def layers_of(encoder: nn.Module) -> Any:
    """Return an encoder's layers, in order."""
    parts: Any = encoder
    return parts.encoder.layer if hasattr(parts, "encoder") else parts.layers


def shared_modules(encoder: nn.Module) -> list[nn.Module]:
    """Return the modules beside an encoder's layers that they compute with: DeBERTa's embeddings of distances."""
    parts: Any = encoder
    beside = parts.encoder.named_children() if hasattr(parts, "encoder") else ()
    return [module for name, module in beside if name != "layer"]


def has_trained(module: nn.Module) -> bool:
    """Tell whether a module has a trained weight."""
    return any(weight.requires_grad for weight in module.parameters())


def grad(wanted: bool) -> Any:
    """Return a context with autograd graphs only where they are wanted."""
    return nullcontext() if wanted else torch.no_grad()


def _means(x: Tensor, text: PackedText) -> Tensor:
    """Return the mean over each text's tokens, `[texts, hidden]`, in the order of the layout."""
    parts = [
        x[first : first + count * length].view(count, length, -1).mean(dim=1)
        for first, count, length in text.layout.groups
    ]
    return torch.cat(parts)
