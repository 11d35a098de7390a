"""MultitaskModel: one encoder, one head per task, and switching of the active task."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftbench.data.batches import Batch, Batcher, PackedText, PrefixText, TextBatch, averaged, pack_mixed
from peftbench.data.encode import EncodedSplit
from peftbench.encoder.layout import hidden_size
from peftbench.errors import UsageError
from peftbench.head import build_head
from peftbench.kernels.device import on_cpu, recomputing
from peftbench.kernels.quantized import follow, quantize
from peftbench.kernels.weight_only import WeightOnlyLinear, check_restores
from peftbench.methods.base import Method
from peftbench.methods.registry import method_info
from peftbench.native import NativeEncoder, native_encoder, why_not_native
from peftbench.spec.model import RunSpec
from peftbench.spec.quantization import QUANTIZED
from peftbench.text import clean


class MultitaskModel(nn.Module):
    """An encoder made trainable by a method, and a head for every task.

    Args:
        encoder: a BERT-family encoder of transformers, pretrained.
        spec: method, runtime, precision, pooling, pair encoding, heads, tasks and seed.

    It is built on the CPU; `prepare` must be called for a device before it can compute.
    """

    head: nn.Sequential
    native: NativeEncoder[Any] | None = None

    def __init__(self, encoder: nn.Module, spec: RunSpec) -> None:
        super().__init__()
        for task in spec.tasks:
            if hasattr(nn.ModuleDict, task.name) or task.name == "training":
                raise UsageError(f"tasks.{task.name}: this name is reserved by torch", "rename the task")
        self.encoder = encoder
        self.runtime = spec.runtime
        self.precision = spec.precision
        self.quantized_by = spec.quantization.library
        self.computes_in_half = spec.precision != "fp32" and not (
            spec.precision in QUANTIZED and spec.quantization.compute_dtype == "fp32"
        )
        self.recomputes = spec.train.gradient_checkpointing
        self.pooling = spec.encoder.pooling
        self.quantized = quantize_as(encoder, spec) if spec.precision in QUANTIZED else 0
        self.method: Method = method_info(spec.method.name).load(spec.runtime)(spec.method)
        self.method.attach(encoder, [task.name for task in spec.tasks], spec.seed)
        self.takes_types = spec.encoder.token_types and _has_token_types(encoder)
        self.first_is_global = self.pooling in ("cls", "pooler") and "global_attention_mask" in _inputs(encoder)
        self.caches = "use_cache" in _inputs(encoder)
        self.encoder_trains = any(weight.requires_grad for weight in encoder.parameters())
        hidden = hidden_size(encoder)
        separate = spec.encoder.pair_encoding == "separate"
        self.heads = nn.ModuleDict(
            {task.name: build_head(task, hidden * (2 if separate and task.is_pair else 1), spec) for task in spec.tasks}
        )
        self.switch_mode(spec.tasks[0].name)

    def switch_mode(self, task: str) -> None:
        """Activate a task's adapters and head, without allocating memory."""
        self.method.switch_mode(task)
        object.__setattr__(self, "head", self.heads[task])

    def prepare(self, device: torch.device) -> Self:
        """Move to the device and set up the spec's runtime. If it falls back, `path` states the reason.

        Raises:
            UsageError: the precision needs a GPU, or frozen weights and there are none, or cannot be computed on the
                device; the encoder does not support gradient checkpointing.
        """
        if self.precision == "fp16" and on_cpu(device):
            raise UsageError(
                "precision = 'fp16' needs a GPU, and this run is on the CPU",
                "use --set precision=autocast: mixed precision in bf16, which also works on a CPU",
            )
        if (
            self.runtime == "peft"
            and (self.precision, self.quantized_by) == ("int8", "bitsandbytes")
            and on_cpu(device)
            and self.method.options.name == "dora"
        ):
            raise UsageError(  # PEFT moves the weight to and fro, and bitsandbytes then forgets the scales
                "PEFT's DoRA fails on int8 weights on a CPU: it loses their scales",
                "use --set runtime=transformers, or --set precision=nf4",
            )
        self.to(device)
        follow(self.encoder)
        if layer := next((each for each in self.encoder.modules() if isinstance(each, WeightOnlyLinear)), None):
            check_restores(layer, self.precision)
        if self.precision == "bf16" and not any(_is_frozen_linear(module) for module in self.encoder.modules()):
            raise UsageError(
                "precision = 'bf16' rounds the frozen weights, and this method has none",
                "use --set precision=autocast: bf16 matrix multiplications, fp32 weights",
            )
        reason = why_not_native(self.encoder) if self.runtime == "native" else None
        if self.runtime == "native" and reason is None:
            self.native = native_encoder(
                self.encoder,
                self.pooling,
                token_types=self.takes_types,
                precision=self.precision,
                recomputes=self.recomputes,
            )
            self.path = f"native: {self.native.describe()}"
        else:
            if self.precision == "bf16":
                _round_frozen(self.encoder)
            if self.recomputes:
                _recompute_layers(self.encoder)
            self.path = self.runtime if reason is None else f"transformers, not native: {reason}"
            if self.quantized:
                by = " (torchao, weight-only)" if self.quantized_by == "torchao" else ""
                self.path += f", {self.quantized} linear layers in {self.precision}{by}"
        return self

    def batcher(self, pad_id: int) -> Batcher:
        """Return a batcher for this model's input format and device."""
        return Batcher(self.native is not None, pad_id, next(self.heads.parameters()).device)

    def forward(self, batch: Batch) -> Tensor:
        """Return the active task's logits, `[batch, outputs]`; of token tasks `[words, outputs]`."""
        if batch.words is not None:
            of_words: Tensor = self.head(self.token_states(batch.texts[0])[batch.words])
            return of_words
        logits: Tensor = self.head(torch.cat([self.pooled(text) for text in batch.texts], dim=-1))
        return logits

    @torch.no_grad()
    def forward_multitask(self, chosen: Mapping[str, tuple[EncodedSplit, np.ndarray]]) -> dict[str, Tensor]:
        """Return the logits for rows of several tasks, `[rows, outputs]` by task, in one pass in evaluation mode.

        Args:
            chosen: for each task, a split and the rows to use.

        Raises:
            UsageError: the encoder does not use the native runtime, the method's tasks differ in more than adapters
                on linear layers, or a task is one of tokens.
        """
        if self.native is None:
            raise UsageError(f"mixed-task batches need the native runtime, and this model uses: {self.path}")
        if reason := self.method.unmixable:
            raise UsageError(f"method {self.method.options.name} allows no mixed-task batches: {reason}")
        if tokens := [task for task, (split, _) in chosen.items() if split.words is not None]:
            raise UsageError(f"mixed-task batches are of whole texts, and {tokens[0]} is a task of tokens")
        self.eval()
        device = next(self.heads.parameters()).device
        groups = [(task, part, rows) for task, (split, rows) in chosen.items() for part in split.parts]
        text, segments = pack_mixed(groups, device)
        embeddings = averaged(self.native.forward_multitask(text, segments), text)
        vectors = iter(embeddings.split([len(rows) for _, _, rows in groups]))
        logits = {}
        for task, (split, _) in chosen.items():
            logits[task] = self.heads[task](torch.cat([next(vectors) for _ in split.parts], dim=-1))
        return logits

    def merge(self, task: str) -> Self:
        """Merge a task's adapters into the encoder, irreversibly: the result predicts that task without adapters.

        Raises:
            UsageError: the method's adapters cannot be merged.
        """
        if self.method.unmergeable:
            raise UsageError(f"method {self.method.options.name}: {self.method.unmergeable}")
        if self.native is not None:
            self.native.restore()
            self.native = None
        self.method.merge(self.encoder, task)
        for weight in self.encoder.parameters():
            weight.requires_grad_(False)
        self.encoder_trains = False
        object.__setattr__(self, "head", self.heads[task])
        return self.prepare(next(self.heads.parameters()).device)

    def pooled(self, text: TextBatch | PackedText | PrefixText) -> Tensor:
        """Return each text's embedding, `[texts, hidden]` in fp32: of one in windows, the mean of its windows'."""
        if isinstance(text, PrefixText):
            if text.packed is None:
                return text.states
            assert self.native is not None, "cached prefixes need the native runtime"
            finished = self.native.finish(text.states, self.native.first_trained, text.packed, self.training)
            return averaged(finished, text.packed)
        if isinstance(text, PackedText):
            if self.native is None:
                raise RuntimeError("a packed batch needs the native runtime: call prepare first")
            return averaged(self.native(text, self.training), text)
        half, grad = self._of_transformers(text)
        with half, grad:
            pooled = self._transformers(text).float()
        return averaged(pooled, text)

    def token_states(self, text: TextBatch | PackedText | PrefixText) -> Tensor:
        """Return the last layer's output for all tokens, `[rows, hidden]` in fp32: text by text, or as packed."""
        if isinstance(text, TextBatch):
            half, grad = self._of_transformers(text)
            with half, grad:
                return self._output(text, first_is_global=False).last_hidden_state.float().flatten(0, 1)
        assert self.native is not None, "a packed batch needs the native runtime"
        if isinstance(text, PrefixText):
            assert text.packed is not None, "token tasks have no cached text embeddings"
            return self.native.token_states(text.states, self.native.first_trained, text.packed, self.training)
        return self.native.token_states(self.native.embed(text, self.training), 0, text, self.training)

    def _of_transformers(self, text: TextBatch) -> tuple[Any, Any]:
        """Return the contexts of mixed precision and of gradients, in which transformers' forward runs."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        half = torch.autocast(text.ids.device.type, dtype, enabled=self.computes_in_half)
        return half, torch.set_grad_enabled(self.encoder_trains and torch.is_grad_enabled())

    def _output(self, text: TextBatch, first_is_global: bool) -> Any:
        more: dict[str, Any] = {"token_type_ids": text.types} if self.takes_types else {}
        if self.caches:
            more["use_cache"] = False  # of keys and values, which only serves to generate text
        if first_is_global:  # as transformers' LongformerForSequenceClassification
            more["global_attention_mask"] = F.pad(torch.ones_like(text.mask[:, :1]), (0, text.mask.shape[1] - 1))
        return self.encoder(input_ids=text.ids, attention_mask=text.mask, **more)

    def _transformers(self, text: TextBatch) -> Tensor:
        output = self._output(text, self.first_is_global)
        if self.pooling == "pooler":
            pooled: Tensor = output.pooler_output
            return pooled
        states: Tensor = output.last_hidden_state
        if self.pooling == "cls":
            return states[:, 0]
        if self.pooling == "last":
            return states[torch.arange(len(states), device=states.device), last_tokens(text.mask)]
        mask = text.mask.unsqueeze(-1).to(states.dtype)
        return (states * mask).sum(dim=1) / mask.sum(dim=1)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return all trainable weights, heads included, by name."""
        return {name: weight for name, weight in self.named_parameters() if weight.requires_grad}

    def trainable_of(self, task: str) -> dict[str, nn.Parameter]:
        """Return the trainable weights that belong to one task: its head and adapters."""
        return {name: weight for name, weight in self.trainable().items() if self._belongs_to(name, task)}

    def saved(self, task: str | None = None) -> dict[str, Tensor]:
        """Return the content of a checkpoint: trainable weights, of one task or all, and the adapters' buffers."""
        weights = self.trainable() if task is None else self.trainable_of(task)
        tasks = self.heads if task is None else (task,)
        kept = {
            name: value
            for name, value in self.named_buffers()
            if any(self._belongs_to(name, task_name) for task_name in tasks)
        }
        return {**weights, **kept}

    def _belongs_to(self, name: str, task: str) -> bool:
        return any(mark in f".{name}." for mark in (f".heads.{task}.", self.method.mark(task)))


def quantize_as(encoder: nn.Module, spec: RunSpec) -> int:
    """Quantize an encoder's frozen linear layers as a spec says, and return how many.

    Raises:
        MissingError: the library cannot be imported.
        UsageError: it cannot quantize the weights so.
    """
    how = spec.quantization
    dtype = torch.bfloat16 if how.compute_dtype == "bf16" else torch.float32
    return quantize(encoder, spec.precision, double_quant=how.double_quant, compute_dtype=dtype, library=how.library)


def last_tokens(mask: Tensor) -> Tensor:
    """Return the column of each text's last token, `[texts]`, from a mask `[texts, length]` padded on either side."""
    return (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(dim=1)


def _has_token_types(encoder: nn.Module) -> bool:
    """Return whether the encoder has several token types. RoBERTa has one, DistilBERT none.

    XLNet and Funnel have no table: they attend differently within a text and between two.
    """
    types = getattr(encoder.config, "type_vocab_size", 0)
    knows = (isinstance(types, int) and types > 1) or getattr(encoder.config, "model_type", "") in ("xlnet", "funnel")
    return knows and "token_type_ids" in _inputs(encoder)


def _inputs(encoder: nn.Module) -> Mapping[str, Any]:
    """Return the parameters of the encoder's forward by name."""
    return inspect.signature(encoder.forward).parameters


def _round_frozen(encoder: nn.Module) -> None:
    """Round the weights of frozen linear layers to bf16, so that autocast multiplies in bf16."""
    for module in encoder.modules():
        if _is_frozen_linear(module):
            module.to(torch.bfloat16)


def _recompute_layers(encoder: nn.Module) -> None:
    """Enable transformers' gradient checkpointing, which recomputes each layer in the backward pass.

    Transformers also makes the embedding output require a gradient, which only reentrant checkpointing needs; this
    is undone.
    """
    parts: Any = encoder
    enable = getattr(parts, "activation_checkpointing_enable", None) or parts.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False, "context_fn": recomputing})
    except ValueError as error:
        raise UsageError(
            f"train.gradient_checkpointing: transformers has none for a {type(encoder).__name__} ({clean(error, 120)})",
            "use --set train.gradient_checkpointing=false and, to save memory, a smaller train.batch_size with "
            "train.accumulation_steps",
        ) from error
    parts.disable_input_require_grads()
    if "use_cache" not in _inputs(encoder):
        parts.config.use_cache = False  # an encoder has no cache, and would emit a warning


def _is_frozen_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and not any(weight.requires_grad for weight in module.parameters())
