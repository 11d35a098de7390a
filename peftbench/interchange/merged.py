"""Export a run as transformers checkpoints: adapters merged, with one folder per task if tasks have own adapters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from peftbench.encoder import EncoderFiles, load_encoder, load_tokenizer
from peftbench.errors import UsageError
from peftbench.interchange.peft_format import ExportedTask
from peftbench.interchange.trained import TrainedRun, around, compare, probe, write_head
from peftbench.kernels.quantized import make_dense
from peftbench.methods.base import Method
from peftbench.model import MultitaskModel
from peftbench.spec.quantization import QUANTIZED
from peftbench.tasks import TaskSpec
from peftbench.text import clean


def export_merged(source: TrainedRun, folder: Path) -> list[ExportedTask]:
    """Write checkpoints for `AutoModel.from_pretrained`, and reload them to verify their logits.

    If tasks have their own weights in the encoder, each gets a complete encoder in a folder of its name; if they
    share the encoder (`full`, `last-layer`), it is in `folder` itself, with only the heads in task folders.

    Raises:
        UsageError: the method's adapters cannot be merged.
        MissingError: the encoder or the trained weights are not available.
        PeftbenchError: the exported model's logits differ from the run's.
    """
    check_mergeable(source)
    files = source.files()
    tokenizer = load_tokenizer(files)
    model = source.model(files)
    tasks = source.spec.tasks
    expected = {task.name: probe(model, source.spec, task, tokenizer) for task in tasks}
    if _share_an_encoder(model):
        make_dense(model.encoder)
        _save(model, tokenizer, folder)
        for task in tasks:
            write_head(model, source, task, folder / task.name)
        return [_verified(source, files, tokenizer, task, folder, expected[task.name]) for task in tasks]
    done = []
    for task, merged in merged_models(source, files, model):
        task_folder = folder / task.name
        _save(merged, tokenizer, task_folder)
        write_head(merged, source, task, task_folder)
        done.append(_verified(source, files, tokenizer, task, task_folder, expected[task.name]))
    return done


def check_mergeable(source: TrainedRun) -> None:
    """Check that a model of dense weights can compute what the run does.

    Raises:
        UsageError: it rounds more than its weights, or merging would change these.
    """
    spec, instead = source.spec, "use --format peft: the adapters, for the same quantized encoder"
    if spec.precision == "int8" and spec.quantization.library == "bitsandbytes":
        raise UsageError(
            "precision = 'int8' rounds the inputs of layers too when it predicts, which no dense weight does", instead
        )
    if spec.precision in QUANTIZED and spec.runtime == "peft":
        raise UsageError(
            f"runtime = 'peft' with precision = '{spec.precision}': PEFT quantizes merged weights again, which changes "
            "them",
            instead,
        )


def merged_models(
    source: TrainedRun, files: EncoderFiles, model: MultitaskModel
) -> Iterator[tuple[TaskSpec, MultitaskModel]]:
    """Yield each task with a model whose encoder has the task's adapters merged; `model`, the first one, is changed.

    Raises:
        UsageError: the method's adapters cannot be merged.
    """
    shared = _share_an_encoder(model)
    for number, task in enumerate(source.spec.tasks):
        fresh = model if shared or number == 0 else source.model(files)  # merging is irreversible
        if not shared:
            _merge(fresh, task.name)
        make_dense(fresh.encoder)
        yield task, fresh


def _share_an_encoder(model: MultitaskModel) -> bool:
    return all(name.startswith("heads.") for task in model.heads for name in model.saved(task))


def _merge(model: MultitaskModel, task: str) -> None:
    method = model.method
    if method.unmergeable:
        raise UsageError(
            f"method {method.options.name}: its adapters cannot be merged: {method.unmergeable}",
            "use --format bundle, which peftbench itself imports",
        )
    if type(method).merge is Method.merge:
        raise UsageError(f"method {method.options.name} does not implement merging its adapters")
    try:
        method.merge(model.encoder, task)
    except (ValueError, TypeError, AttributeError, NotImplementedError) as error:  # PEFT's tuners raise different types
        raise UsageError(
            f"method {method.options.name}: its adapters cannot be merged: {clean(error, 200)}",
            "use --format peft, which exports the adapter separately",
        ) from error


def _save(model: MultitaskModel, tokenizer: Any, folder: Path) -> None:
    model.encoder.save_pretrained(folder)  # type: ignore[operator]
    tokenizer.save_pretrained(folder)


def _verified(
    source: TrainedRun, files: EncoderFiles, tokenizer: Any, task: TaskSpec, folder: Path, expected: np.ndarray
) -> ExportedTask:
    written = load_encoder(source.spec.encoder, dataclasses.replace(files, folder=folder))
    head = folder if (folder / "head.json").is_file() else folder / task.name
    again = around(written, source.spec, task, head)
    off = compare(expected, probe(again, source.spec, task, tokenizer), task.name)
    return ExportedTask(task.name, source.epochs[task.name], off)
