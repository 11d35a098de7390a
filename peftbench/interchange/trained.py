"""Rebuild a run's trained model for export, and read and write the task heads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from peftbench.data.encode import EncodedSplit, encode_texts
from peftbench.data.standardise import recorded_scale
from peftbench.encoder import EncoderFiles, find_encoder, load_encoder, padding_of
from peftbench.errors import DataError, MissingError, PeftbenchError
from peftbench.head import weights_of
from peftbench.methods.options import LastLayerOptions
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.spec.quantization import QUANTIZED, QuantizationSpec
from peftbench.spec.stored import hashes
from peftbench.store.conditions import label_names
from peftbench.tasks import TaskSpec
from peftbench.text import clean
from peftbench.training.evaluation import logits_of
from peftbench.training.inputs import UNRECORDED, RecordedInputs
from peftbench.training.threshold import threshold_of
from peftbench.training.weights import load_weights, weights_path

CHECKED_WITHIN = 1e-4  # times max(largest logit, 1): allowed deviation of exported logits
HEAD, HEAD_WEIGHTS = "head.json", "head.safetensors"

_PROBES = (
    ("A plain sentence.", "Another one, somewhat longer than the first."),
    ("It was not worth the wait, and yet I would go again!", "I would go again."),
    ("no", "yes"),
)


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """The source of a run's trained weights: its spec, its folder, and the epoch of each task.

    `own`: the epoch is the task's own best epoch, with its own weights; else the best by dev average.
    `recorded`: the inputs that the run recorded.
    """

    spec: RunSpec
    folder: Path
    epochs: Mapping[str, int]
    own: bool
    recorded: RecordedInputs = UNRECORDED

    def files(self) -> EncoderFiles:
        """Find the pretrained encoder.

        Raises:
            MissingError: it is not available.
            ChangedError: it has changed since the run.
        """
        files = find_encoder(self.spec.encoder)
        self.recorded.check_encoder(files)
        return files

    @property
    def computed_plainly(self) -> RunSpec:
        """The spec, with products in fp32 and the transformers runtime; quantized weights stay quantized."""
        plain: dict[str, Any] = {"quantization": self.spec.quantization.model_copy(update={"compute_dtype": "fp32"})}
        if self.spec.precision not in QUANTIZED:
            plain["precision"] = "fp32"
        if self.spec.runtime == "native":
            plain["runtime"] = "transformers"  # the same modules, without repacked weights
        return self.spec.model_copy(update=plain)

    def model(
        self, files: EncoderFiles, before: Callable[[MultitaskModel], None] = lambda model: None
    ) -> MultitaskModel:
        """Return the prepared trained model on the CPU, in fp32 with the transformers runtime.

        Args:
            files: of the pretrained encoder.
            before: called with the model before trained weights are loaded.

        Raises:
            MissingError: the trained weights do not exist, or are damaged.
            ChangedError: they differ from those that the run wrote.
        """
        model = MultitaskModel(load_encoder(self.spec.encoder, files), self.computed_plainly)
        before(model)
        known = {spec_hash for spec_hash, _ in hashes(self.spec)}
        for task, epoch in self.epochs.items() if self.own else [(None, min(self.epochs.values()))]:
            path = weights_path(self.folder, epoch, task)
            self.recorded.check_weights(path)
            load_weights(model, path, known)
        return model.prepare(torch.device("cpu"))


def write_head(model: MultitaskModel, source: TrainedRun, task: TaskSpec, folder: Path) -> None:
    """Write a task's head: its linear layers, and the pooling and input settings it needs.

    Raises:
        DataError: a regression task whose run did not record the scale of its labels.
    """
    from safetensors.torch import save_file

    spec, scale = source.spec, recorded_scale(task, source.recorded.conditions)
    names = label_names(source.recorded.conditions, task.name, task.labels)
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
        "id2label": None if names is None else dict(enumerate(names)),
        "range": [task.low, task.high] if task.kind == "similarity" else None,
        "scale": [scale.mean, scale.sd] if task.kind == "regression" else None,  # prediction = mean + sd * output
        "quantization": _quantization(spec),
        "threshold": label_threshold(source, task),
        "pooling": None if task.kind == "tokens" else spec.encoder.pooling,  # tokens: the first piece of each word
        "pair_encoding": spec.encoder.pair_encoding if task.is_pair else None,
        "token_types": model.takes_types,
        "max_length": spec.encoder.max_length,
        "stride": spec.encoder.stride,  # not None: a longer text is the mean of its windows' embeddings
        "epoch": source.epochs[task.name],
    }
    (folder / HEAD).write_text(json.dumps(about, indent=2) + "\n", "utf-8")


def _quantization(spec: RunSpec) -> dict[str, Any] | None:
    """Return how the base weights were quantized in training; None: they were not."""
    if spec.precision not in QUANTIZED:
        return None
    of_others = set() if spec.precision == "nf4" else {"double_quant"}
    return {"precision": spec.precision, **spec.quantization.model_dump(exclude=of_others)}


def label_threshold(source: TrainedRun, task: TaskSpec) -> float | None:
    """Return the probability above which a label is predicted; None for kinds that have none."""
    if task.kind not in ("binary", "multilabel"):
        return None
    return threshold_of(task, source.recorded.conditions, source.epochs[task.name])


def read_head(model: MultitaskModel, task: str, folder: Path) -> None:
    """Load a task's head written by `write_head`.

    Raises:
        MissingError: it does not exist.
        DataError: it cannot be read, or belongs to another task.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / HEAD_WEIGHTS
    wanted = weights_of(model.heads[task])
    try:
        loaded = load_file(path)
    except FileNotFoundError as error:
        raise MissingError(f"{path} does not exist") from error
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} cannot be read: {clean(error, 200)}") from error
    if {key: value.shape for key, value in loaded.items()} != {key: value.shape for key, value in wanted.items()}:
        raise DataError(f"{path} is not a head of task {task}")
    for key, weight in wanted.items():
        weight.data.copy_(loaded[key])


def around(encoder: nn.Module, spec: RunSpec, task: TaskSpec, folder: Path) -> MultitaskModel:
    """Return a single-task model from an exported encoder, with adapters applied, and the head in its folder."""
    model = untrained(encoder, spec, task)
    read_head(model, task.name, folder)
    return model


def untrained(encoder: nn.Module, spec: RunSpec, task: TaskSpec) -> MultitaskModel:
    """Return a single-task model from an encoder, without adapters, and with the head that a run begins with."""
    plain: dict[str, Any] = {"runtime": "transformers", "precision": "fp32", "quantization": QuantizationSpec()}
    plain["method"] = LastLayerOptions(name="last-layer")
    model = MultitaskModel(encoder, spec.model_copy(update={**plain, "tasks": (task,)}))
    return model.prepare(torch.device("cpu"))


def probe(model: MultitaskModel, spec: RunSpec, task: TaskSpec, tokenizer: Any) -> np.ndarray:
    """Return the logits for a few fixed texts, `[n, outputs]`; of token tasks for their words, `[words, outputs]`."""
    model.switch_mode(task.name)
    split = encoded_probes(spec, task, tokenizer)
    batcher = model.batcher(padding_of(tokenizer))
    return logits_of(model, split, np.arange(len(split)), len(split), batcher)


def probe_texts(task: TaskSpec) -> list[tuple[str, ...]]:
    """Return the fixed texts that exports are checked with, one or two for each input as the task has."""
    return [pair[: len(task.text)] for pair in _PROBES]


def encoded_probes(spec: RunSpec, task: TaskSpec, tokenizer: Any) -> EncodedSplit:
    """Tokenise the probe texts as the run does."""
    tags = ("O",) if task.kind == "tokens" else None  # names do not matter here: each word's logits are compared
    joint = spec.encoder.pair_encoding == "joint"
    return encode_texts(probe_texts(task), tokenizer, joint, spec.encoder.max_length, tags, spec.encoder.stride)


def deviation(expected: np.ndarray, actual: np.ndarray) -> tuple[float, bool]:
    """Return the largest absolute difference of two logit matrices, and whether it is only of rounding."""
    off = float(np.abs(expected - actual).max())
    return off, off <= CHECKED_WITHIN * max(1.0, float(np.abs(expected).max()))


def compare(expected: np.ndarray, actual: np.ndarray, task: str) -> float:
    """Return the largest absolute difference of two logit matrices.

    Raises:
        PeftbenchError: it exceeds rounding errors: the export computes something else than the run.
    """
    off, same = deviation(expected, actual)
    if not same:
        raise PeftbenchError(
            f"task {task}: the exported model's logits differ from the run's (by {off:.2g}); the export was discarded",
            "use another --format; a bundle can be loaded by peftbench itself",
        )
    return off
