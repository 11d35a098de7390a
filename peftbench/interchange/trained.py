"""A run's trained model, put together again for an export, and what is written beside an encoder: the heads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from peftbench.data.encode import encode_texts
from peftbench.encoder import EncoderFiles, find_encoder, load_encoder
from peftbench.errors import DataError, MissingError, PeftbenchError
from peftbench.head import weights_of
from peftbench.methods.options import LastLayerOptions
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.tasks import TaskSpec
from peftbench.text import clean
from peftbench.training.checkpoint import checkpoint_path, load_weights
from peftbench.training.evaluation import logits_of

CHECKED_WITHIN = 1e-4  # times the largest logit, or 1: what is written must compute what the run computes
HEAD, HEAD_WEIGHTS = "head.json", "head.safetensors"

_PROBES = (
    ("A plain sentence.", "Another one, somewhat longer than the first."),
    ("It was not worth the wait, and yet I would go again!", "I would go again."),
    ("no", "yes"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a run's trained weights are: its spec, its folder, and each task's epoch.

    `own`: the epoch is the task's own best one, with weights of its own; else the best by dev average.
    """

    spec: RunSpec
    folder: Path
    epochs: Mapping[str, int]
    own: bool

    def files(self) -> EncoderFiles:
        """Find the pretrained encoder."""
        return find_encoder(self.spec.encoder)

    def model(
        self, files: EncoderFiles, before: Callable[[MultitaskModel], None] = lambda model: None
    ) -> MultitaskModel:
        """Return the trained model on the CPU, in fp32 and on transformers' forward, prepared.

        Args:
            files: of the pretrained encoder.
            before: is shown the model before trained weights are loaded.

        Raises:
            MissingError: the trained weights are not there, or damaged.
        """
        plain: dict[str, Any] = {"precision": "fp32"}
        if self.spec.runtime == "native":
            plain["runtime"] = "transformers"  # the same modules; and no weight is repacked
        model = MultitaskModel(load_encoder(self.spec.encoder, files), self.spec.model_copy(update=plain))
        before(model)
        for task, epoch in self.epochs.items() if self.own else [(None, min(self.epochs.values()))]:
            load_weights(model, checkpoint_path(self.folder, epoch, task), self.spec.hash())
        return model.prepare(torch.device("cpu"))


def write_head(model: MultitaskModel, spec: RunSpec, task: TaskSpec, epoch: int, folder: Path) -> None:
    """Write a task's head: its linear layers, and how a text becomes the vector that it takes."""
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    weights = {name: weight.detach().contiguous() for name, weight in weights_of(model.heads[task.name]).items()}
    save_file(weights, folder / HEAD_WEIGHTS, {"format": "pt"})
    about = {
        "task": task.name,
        "kind": task.kind,
        "outputs": task.outputs,
        "head": spec.head.of(task.name).kind,
        "activation": "gelu" if spec.head.of(task.name).kind == "mlp" else None,
        "texts": list(task.text),
        "label": task.label,
        "range": [task.low, task.high] if task.kind == "similarity" else None,
        "pooling": spec.encoder.pooling,
        "pair_encoding": spec.encoder.pair_encoding if task.is_pair else None,
        "token_types": model.takes_types,
        "max_length": spec.encoder.max_length,
        "epoch": epoch,
    }
    (folder / HEAD).write_text(json.dumps(about, indent=2) + "\n", "utf-8")


def read_head(model: MultitaskModel, task: str, folder: Path) -> None:
    """Load a task's head that `write_head` wrote.

    Raises:
        MissingError: it is not there.
        DataError: it cannot be read, or is another task's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / HEAD_WEIGHTS
    wanted = weights_of(model.heads[task])
    try:
        found = load_file(path)
    except FileNotFoundError as error:
        raise MissingError(f"{path} is not there") from error
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} cannot be read: {clean(error, 200)}") from error
    if {key: value.shape for key, value in found.items()} != {key: value.shape for key, value in wanted.items()}:
        raise DataError(f"{path} is no head of task {task}")
    for key, weight in wanted.items():
        weight.data.copy_(found[key])


def around(encoder: nn.Module, spec: RunSpec, task: TaskSpec, folder: Path) -> MultitaskModel:
    """Return a model of one task around an encoder that already computes it, with the head of an exported folder."""
    plain = {"method": LastLayerOptions(name="last-layer"), "runtime": "transformers", "precision": "fp32"}
    model = MultitaskModel(encoder, spec.model_copy(update={**plain, "tasks": (task,)}))
    read_head(model, task.name, folder)
    return model.prepare(torch.device("cpu"))


def probe(model: MultitaskModel, spec: RunSpec, task: TaskSpec, tokenizer: Any) -> np.ndarray:
    """Return the logits of a few fixed texts, `[n, outputs]`."""
    model.switch_mode(task.name)
    texts = [pair[: len(task.text)] for pair in _PROBES]
    split = encode_texts(texts, tokenizer, spec.encoder.pair_encoding == "joint", spec.encoder.max_length)
    batcher = model.batcher(tokenizer.pad_token_id or 0)
    return logits_of(model, split, np.arange(len(texts)), len(texts), batcher)


def compare(expected: np.ndarray, found: np.ndarray, task: str) -> float:
    """Return the largest difference of two tables of logits.

    Raises:
        PeftbenchError: it is more than rounding: the export does not compute what the run computes.
    """
    off = float(np.abs(expected - found).max())
    if not off <= CHECKED_WITHIN * max(1.0, float(np.abs(expected).max())):
        raise PeftbenchError(
            f"task {task}: what was exported gives other logits than the run (by {off:.2g}); nothing is kept of it",
            "use another --format; with a bundle, peftbench itself loads the run",
        )
    return off
