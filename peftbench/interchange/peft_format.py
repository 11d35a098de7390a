"""Export a run's adapters as HF PEFT folders, one per task with its head; and load such a folder again."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from peftbench.encoder import load_encoder, load_tokenizer, public_name
from peftbench.errors import DataError, MissingError
from peftbench.interchange.trained import TrainedRun, around, compare, probe, read_head, write_head
from peftbench.methods.as_peft import AsPeft, PeftAdapter
from peftbench.model import MultitaskModel, quantize_as
from peftbench.spec.model import RunSpec
from peftbench.spec.quantization import QUANTIZED
from peftbench.text import clean

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_LARGEST_CONFIG = 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class ExportedTask:
    """An exported task: its epoch, the deviation of its logits from the run's, and its converted form, if any."""

    task: str
    epoch: int
    logits_within: float
    converted: str | None = None


def export_peft(source: TrainedRun, folder: Path) -> list[ExportedTask]:
    """Write one folder per task for `PeftModel.from_pretrained`, and reload each to verify its logits.

    Raises:
        UsageError: PEFT's format cannot represent the method's adapters.
        MissingError: PEFT, the encoder or the trained weights are not available.
        PeftbenchError: the exported model's logits differ from the run's.
    """
    spec, files = source.spec, source.files()
    tokenizer = load_tokenizer(files)
    converters: list[AsPeft] = []
    names = [task.name for task in spec.tasks]
    model = source.model(files, lambda fresh: converters.append(AsPeft(fresh.method, fresh.encoder, names)))
    done = []
    for task in spec.tasks:
        task_folder = folder / task.name
        adapter = converters[0].adapter(task.name)
        write_adapter(adapter, spec, type(model.encoder), task_folder)
        write_head(model, source, task, task_folder)
        base = load_encoder(spec.encoder, files)
        if spec.precision in QUANTIZED:
            quantize_as(base, source.computed_plainly)
        again = around(load_with_peft(base, task_folder), spec, task, task_folder)
        off = compare(probe(model, spec, task, tokenizer), probe(again, spec, task, tokenizer), task.name)
        done.append(ExportedTask(task.name, source.epochs[task.name], off, adapter.converted))
    return done


def write_adapter(adapter: PeftAdapter, spec: RunSpec, encoder_type: type[nn.Module], folder: Path) -> None:
    """Write an adapter's two files, as PEFT's `save_pretrained` does."""
    from safetensors.torch import save_file

    config = adapter.config
    config.base_model_name_or_path, config.revision = public_name(spec.encoder), spec.encoder.revision
    config.auto_mapping = {"base_model_class": encoder_type.__name__, "parent_library": encoder_type.__module__}
    if isinstance(getattr(config, "target_modules", None), set):
        config.target_modules = sorted(config.target_modules)  # for deterministic output
    config.save_pretrained(folder)
    weights = {key: weight.detach().clone().contiguous() for key, weight in adapter.weights.items()}
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


def load_with_peft(encoder: nn.Module, folder: Path) -> nn.Module:
    """Return the encoder with the adapter of a folder, loaded by PEFT."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded: nn.Module = PeftModel.from_pretrained(encoder, str(folder)).base_model.model
    return loaded


def take_peft(model: MultitaskModel, task: str, folder: Path) -> None:
    """Load a task's adapter and head, from a folder written by `export_peft`, into a model of the run's spec.

    Args:
        model: built from the run's spec, without trained weights.
        task: the task.
        folder: the task's folder.

    Raises:
        MissingError: a file does not exist.
        DataError: it is damaged, or does not match the spec's adapter.
        UsageError: the method's adapters are converted on export (Delta-LoRA, PiSSA), and cannot be loaded back.
    """
    config, weights = _read_config(folder / CONFIG), _read_weights(folder / WEIGHTS)
    AsPeft(model.method, model.encoder, list(model.heads)).take(task, config, weights)
    read_head(model, task, folder)


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_CONFIG + 1)
    except FileNotFoundError as error:
        raise MissingError(f"{path} does not exist", "name the folder of one task of an export") from error
    if len(content) > _LARGEST_CONFIG:
        raise DataError(f"{path} is not an adapter configuration: it is larger than 1 MiB")
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {clean(error, 200)}") from error
    if not isinstance(config, dict):
        raise DataError(f"{path} is not an adapter configuration")
    return config


def _read_weights(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise MissingError(f"{path} does not exist", "name the folder of one task of an export") from error
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} cannot be read: {clean(error, 200)}") from error
