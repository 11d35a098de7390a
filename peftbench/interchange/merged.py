"""A run as plain checkpoints of transformers: adapters folded in, one folder a task where each has its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from peftbench.encoder import EncoderFiles, load_encoder, load_tokenizer
from peftbench.errors import UsageError
from peftbench.interchange.peft_format import ExportedTask
from peftbench.interchange.trained import Source, around, compare, probe, write_head
from peftbench.methods.base import Method
from peftbench.model import MultitaskModel
from peftbench.tasks import TaskSpec
from peftbench.text import clean


def export_merged(source: Source, folder: Path) -> list[ExportedTask]:
    """Write what `AutoModel.from_pretrained` loads, and load it again to see that it is right.

    Where tasks have weights of their own in the encoder, each gets a whole encoder in a folder of its name; where
    they share one (`full`, `last-layer`), it is in `folder` itself, and only the heads are in folders of tasks.

    Raises:
        UsageError: the method cannot be folded into plain weights.
        MissingError: the encoder or the trained weights are not there.
        PeftbenchError: what was written gives other logits than the run.
    """
    files = source.files()
    tokenizer = load_tokenizer(files)
    model = source.model(files)
    tasks = source.spec.tasks
    expected = {task.name: probe(model, source.spec, task, tokenizer) for task in tasks}
    if not any(_has_own_encoder(model, task.name) for task in tasks):
        _save(model, tokenizer, folder)
        for task in tasks:
            write_head(model, source.spec, task, source.epochs[task.name], folder / task.name)
        return [_checked(source, files, tokenizer, task, folder, expected[task.name]) for task in tasks]
    done = []
    for number, task in enumerate(tasks):
        fresh = model if number == 0 else source.model(files)  # to fold one in is for good
        _merge(fresh, task.name)
        place = folder / task.name
        _save(fresh, tokenizer, place)
        write_head(fresh, source.spec, task, source.epochs[task.name], place)
        done.append(_checked(source, files, tokenizer, task, place, expected[task.name]))
    return done


def _has_own_encoder(model: MultitaskModel, task: str) -> bool:
    return any(not name.startswith("heads.") for name in model.saved(task))


def _merge(model: MultitaskModel, task: str) -> None:
    method = model.method
    if type(method).merge is Method.merge:
        raise UsageError(f"method {method.options.name} does not say how its adapters are folded into plain weights")
    try:
        method.merge(model.encoder, task)
    except (ValueError, TypeError, AttributeError, NotImplementedError) as error:  # PEFT's tuners raise their own
        raise UsageError(
            f"method {method.options.name}: it cannot be folded into plain weights: {clean(error, 200)}",
            "use --format peft: the adapter by itself",
        ) from error


def _save(model: MultitaskModel, tokenizer: Any, folder: Path) -> None:
    model.encoder.save_pretrained(folder)  # type: ignore[operator]
    tokenizer.save_pretrained(folder)


def _checked(
    source: Source, files: EncoderFiles, tokenizer: Any, task: TaskSpec, folder: Path, expected: np.ndarray
) -> ExportedTask:
    written = load_encoder(source.spec.encoder, dataclasses.replace(files, folder=folder))
    head = folder if (folder / "head.json").is_file() else folder / task.name
    again = around(written, source.spec, task, head)
    off = compare(expected, probe(again, source.spec, task, tokenizer), task.name)
    return ExportedTask(task.name, source.epochs[task.name], off)
