"""MultitaskModel: one encoder, one head a task, and the task switched on the fly."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from peftbench.data.batches import Batch, Batcher, PackedText, PrefixText, TextBatch, pack_mixed
from peftbench.data.encode import EncodedSplit
from peftbench.errors import UsageError
from peftbench.head import build_head
from peftbench.kernels.place import on_cpu, recomputing
from peftbench.methods.base import Method
from peftbench.methods.registry import method_info
from peftbench.native import NativeEncoder, why_not_native
from peftbench.spec.model import RunSpec
from peftbench.text import clean


class MultitaskModel(nn.Module):
    """An encoder made trainable by a method, and a head for every task.

    Args:
        encoder: a BERT-family encoder of transformers, pretrained.
        spec: method, runtime, precision, pooling, pair encoding, heads, tasks and seed.

    It is built on the CPU, then `prepare`d for a device: only then can it compute.
    """

    head: nn.Sequential
    native: NativeEncoder | None = None

    def __init__(self, encoder: nn.Module, spec: RunSpec) -> None:
        super().__init__()
        for task in spec.tasks:
            if hasattr(nn.ModuleDict, task.name) or task.name == "training":
                raise UsageError(f"tasks.{task.name}: torch needs this name for itself", "give the task another")
        self.encoder = encoder
        self.runtime = spec.runtime
        self.precision = spec.precision
        self.recomputes = spec.train.gradient_checkpointing
        self.pooling = spec.encoder.pooling
        self.method: Method = method_info(spec.method.name).load(spec.runtime)(spec.method)
        self.method.attach(encoder, [task.name for task in spec.tasks], spec.seed)
        self.takes_types = spec.encoder.token_types and _has_token_types(encoder)
        self.encoder_trains = any(weight.requires_grad for weight in encoder.parameters())
        hidden: int = encoder.config.hidden_size  # type: ignore[union-attr, assignment]
        separate = spec.encoder.pair_encoding == "separate"
        self.heads = nn.ModuleDict(
            {task.name: build_head(task, hidden * (2 if separate and task.is_pair else 1), spec) for task in spec.tasks}
        )
        self.switch_mode(spec.tasks[0].name)

    def switch_mode(self, task: str) -> None:
        """Make a task's adapters and head the active ones; allocates nothing."""
        self.method.switch_mode(task)
        object.__setattr__(self, "head", self.heads[task])

    def prepare(self, device: torch.device) -> Self:
        """Move to the device and make the spec's runtime ready there. Where it falls back, `path` says why.

        Raises:
            UsageError: the precision needs a GPU, or rounds frozen weights and there are none; the encoder cannot
                compute its layers anew in backward.
        """
        if self.precision == "fp16" and on_cpu(device):
            raise UsageError(
                "precision = 'fp16' needs a GPU, and this run is on the CPU",
                "use --set precision=autocast: mixed precision in bf16, which a CPU multiplies in too",
            )
        self.to(device)
        if self.precision == "bf16" and not any(_is_frozen_linear(module) for module in self.encoder.modules()):
            raise UsageError(
                "precision = 'bf16' rounds the frozen weights, and this method freezes none",
                "use --set precision=autocast: bf16 multiplications, fp32 weights",
            )
        reason = why_not_native(self.encoder) if self.runtime == "native" else None
        if self.runtime == "native" and reason is None:
            self.native = NativeEncoder(
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
        return self

    def batcher(self, pad_id: int) -> Batcher:
        """Return what makes batches in this model's form, on its device."""
        return Batcher(self.native is not None, pad_id, next(self.heads.parameters()).device)

    def forward(self, batch: Batch) -> Tensor:
        """Return the active task's logits, `[batch, outputs]`."""
        logits: Tensor = self.head(torch.cat([self.pooled(text) for text in batch.texts], dim=-1))
        return logits

    @torch.no_grad()
    def mixed(self, chosen: Mapping[str, tuple[EncodedSplit, np.ndarray]]) -> dict[str, Tensor]:
        """Return the logits of rows of several tasks, `[rows, outputs]` by task: one pass, in evaluation mode.

        Args:
            chosen: for each task, a split and which of its rows.

        Raises:
            UsageError: the encoder does not run on the native path.
        """
        if self.native is None:
            raise UsageError(f"one pass over several tasks needs the native path, and this model runs on: {self.path}")
        self.eval()
        device = next(self.heads.parameters()).device
        groups = [(task, part, rows) for task, (split, rows) in chosen.items() for part in split.parts]
        text, segments = pack_mixed(groups, device)
        vectors = iter(self.native.mixed(text, segments).split([segment.texts for segment in segments]))
        found = {}
        for task, (split, _) in chosen.items():
            found[task] = self.heads[task](torch.cat([next(vectors) for _ in split.parts], dim=-1))
        return found

    def merge(self, task: str) -> Self:
        """Fold a task's adapters into the encoder, for good: what is left predicts that task, without adapters."""
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
        """Return each text's vector, `[texts, hidden]` in fp32."""
        if isinstance(text, PrefixText):
            if text.packed is None:
                return text.states
            assert self.native is not None, "prefixes are the native path's"
            return self.native.finish(text.states, self.native.first_trained, text.packed, self.training)
        if isinstance(text, PackedText):
            if self.native is None:
                raise RuntimeError("a packed batch needs the native path: prepare the model first")
            return self.native(text, self.training)
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        half = torch.autocast(text.ids.device.type, dtype, enabled=self.precision != "fp32")
        with half, torch.set_grad_enabled(self.encoder_trains and torch.is_grad_enabled()):
            return self._transformers(text).float()

    def _transformers(self, text: TextBatch) -> Tensor:
        types = {"token_type_ids": text.types} if self.takes_types else {}
        output = self.encoder(input_ids=text.ids, attention_mask=text.mask, **types)
        if self.pooling == "pooler":
            return output.pooler_output
        states = output.last_hidden_state
        if self.pooling == "cls":
            return states[:, 0]
        mask = text.mask.unsqueeze(-1).to(states.dtype)
        return (states * mask).sum(dim=1) / mask.sum(dim=1)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return every weight that is trained, heads included, by its name."""
        return {name: weight for name, weight in self.named_parameters() if weight.requires_grad}

    def trainable_of(self, task: str) -> dict[str, nn.Parameter]:
        """Return the weights that only this task trains: its head and its adapters."""
        return {name: weight for name, weight in self.trainable().items() if self._belongs(name, task)}

    def saved(self, task: str | None = None) -> dict[str, Tensor]:
        """Return what a checkpoint holds: trained weights, of one task or all, and the buffers of adapters."""
        weights = self.trainable() if task is None else self.trainable_of(task)
        tasks = self.heads if task is None else (task,)
        kept = {name: value for name, value in self.named_buffers() if any(self._belongs(name, one) for one in tasks)}
        return {**weights, **kept}

    def _belongs(self, name: str, task: str) -> bool:
        return any(mark in f".{name}." for mark in (f".heads.{task}.", self.method.mark(task)))


def _has_token_types(encoder: nn.Module) -> bool:
    """Tell whether the encoder embeds more than one token type (RoBERTa has one, DistilBERT none)."""
    types = getattr(encoder.config, "type_vocab_size", 0)
    return "token_type_ids" in inspect.signature(encoder.forward).parameters and isinstance(types, int) and types > 1


def _round_frozen(encoder: nn.Module) -> None:
    """Round the frozen linear layers' weights to bf16; autocast then multiplies in it."""
    for module in encoder.modules():
        if _is_frozen_linear(module):
            module.to(torch.bfloat16)


def _recompute_layers(encoder: nn.Module) -> None:
    """Let transformers compute each layer anew in backward.

    It also makes the embeddings' output need a gradient, which only reentrant checkpoints want: that is undone.
    """
    parts: Any = encoder
    enable = getattr(parts, "activation_checkpointing_enable", None) or parts.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False, "context_fn": recomputing})
    except ValueError as error:
        raise UsageError(
            f"train.gradient_checkpointing: transformers has none for a {type(encoder).__name__} ({clean(error, 120)})",
            "use --set train.gradient_checkpointing=false, and a smaller train.batch_size with "
            "train.accumulation_steps where memory is short",
        ) from error
    parts.disable_input_require_grads()
    parts.config.use_cache = False  # an encoder has none, and would warn of it


def _is_frozen_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and not any(weight.requires_grad for weight in module.parameters())
