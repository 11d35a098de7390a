"""MultitaskModel: one encoder, one linear head a task, and the task switched on the fly."""

from __future__ import annotations

import inspect
import math

import torch
from torch import Tensor, nn

from peftbench.data.encode import Batch, TextBatch
from peftbench.errors import UsageError
from peftbench.methods.base import Method
from peftbench.methods.registry import method_info
from peftbench.seeds import generator
from peftbench.spec.model import RunSpec


class MultitaskModel(nn.Module):
    """An encoder made trainable by a method, and a head for every task.

    Args:
        encoder: a BERT-family encoder of transformers, pretrained.
        spec: method, pooling, pair encoding, heads, tasks and seed.
    """

    head: nn.Sequential

    def __init__(self, encoder: nn.Module, spec: RunSpec) -> None:
        super().__init__()
        for task in spec.tasks:
            if hasattr(nn.ModuleDict, task.name) or task.name == "training":
                raise UsageError(f"tasks.{task.name}: torch needs this name for itself", "give the task another")
        self.encoder = encoder
        self.pooling = spec.encoder.pooling
        self.method: Method = method_info(spec.method.name).load()(spec.method)
        self.method.attach(encoder, [task.name for task in spec.tasks], spec.seed)
        self.takes_types = spec.encoder.token_types and _has_token_types(encoder)
        self.encoder_trains = any(weight.requires_grad for weight in encoder.parameters())
        hidden: int = encoder.config.hidden_size  # type: ignore[union-attr, assignment]
        separate = spec.encoder.pair_encoding == "separate"
        self.heads = nn.ModuleDict(
            {
                task.name: _head(hidden * (2 if separate and task.is_pair else 1), task.outputs, task.name, spec)
                for task in spec.tasks
            }
        )
        self.switch_mode(spec.tasks[0].name)

    def switch_mode(self, task: str) -> None:
        """Make a task's adapters and head the active ones; allocates nothing."""
        self.method.switch_mode(task)
        object.__setattr__(self, "head", self.heads[task])

    def forward(self, batch: Batch) -> Tensor:
        """Return the active task's logits, `[batch, outputs]`."""
        with torch.set_grad_enabled(self.encoder_trains and torch.is_grad_enabled()):
            pooled = torch.cat([self._pool(text) for text in batch.texts], dim=-1)
        logits: Tensor = self.head(pooled)
        return logits

    def _pool(self, text: TextBatch) -> Tensor:
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
        marks = (f"heads.{task}.", f".adapters.{task}.")
        return {name: weight for name, weight in self.trainable().items() if any(mark in f".{name}" for mark in marks)}


def _has_token_types(encoder: nn.Module) -> bool:
    """Tell whether the encoder embeds more than one token type (RoBERTa has one, DistilBERT none)."""
    types = getattr(encoder.config, "type_vocab_size", 0)
    return "token_type_ids" in inspect.signature(encoder.forward).parameters and isinstance(types, int) and types > 1


def _head(width: int, outputs: int, task: str, spec: RunSpec) -> nn.Sequential:
    """Return dropout and one linear layer, initialised as torch does, from the run's seed."""
    linear = nn.Linear(width, outputs)
    rng = generator(spec.seed, "head", task)
    nn.init.kaiming_uniform_(linear.weight, a=math.sqrt(5), generator=rng)
    nn.init.uniform_(linear.bias, -1 / math.sqrt(width), 1 / math.sqrt(width), generator=rng)
    return nn.Sequential(nn.Dropout(spec.head.dropout), linear)
