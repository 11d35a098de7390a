"""A run's adapters as HF PEFT's folders, one a task, the head beside the adapter; and such a folder taken back."""

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
from peftbench.interchange.trained import Source, around, compare, probe, read_head, write_head
from peftbench.methods.as_peft import AsPeft, PeftAdapter
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.text import clean

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_LARGEST_CONFIG = 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class ExportedTask:
    """A task in an export: whose epoch, how far its logits are from the run's, and what it was converted to."""

    task: str
    epoch: int
    logits_within: float
    converted: str | None = None


def export_peft(source: Source, folder: Path) -> list[ExportedTask]:
    """Write a folder a task, which `PeftModel.from_pretrained` loads, and load each one again to see that it is right.

    Raises:
        UsageError: PEFT's format cannot hold the method's adapters.
        MissingError: PEFT, the encoder or the trained weights are not there.
        PeftbenchError: what was written gives other logits than the run.
    """
    spec, files = source.spec, source.files()
    tokenizer = load_tokenizer(files)
    said: list[AsPeft] = []
    names = [task.name for task in spec.tasks]
    model = source.model(files, lambda fresh: said.append(AsPeft(fresh.method, fresh.encoder, names)))
    done = []
    for task in spec.tasks:
        place = folder / task.name
        adapter = said[0].adapter(task.name)
        write_adapter(adapter, spec, type(model.encoder), place)
        write_head(model, spec, task, source.epochs[task.name], place)
        again = around(load_with_peft(load_encoder(spec.encoder, files), place), spec, task, place)
        off = compare(probe(model, spec, task, tokenizer), probe(again, spec, task, tokenizer), task.name)
        done.append(ExportedTask(task.name, source.epochs[task.name], off, adapter.converted))
    return done


def write_adapter(adapter: PeftAdapter, spec: RunSpec, encoder_type: type[nn.Module], folder: Path) -> None:
    """Write an adapter's two files, as PEFT's own `save_pretrained` does."""
    from safetensors.torch import save_file

    config = adapter.config
    config.base_model_name_or_path, config.revision = public_name(spec.encoder), spec.encoder.revision
    config.auto_mapping = {"base_model_class": encoder_type.__name__, "parent_library": encoder_type.__module__}
    if isinstance(getattr(config, "target_modules", None), set):
        config.target_modules = sorted(config.target_modules)  # the same run, the same bytes
    config.save_pretrained(folder)
    weights = {key: weight.detach().clone().contiguous() for key, weight in adapter.weights.items()}
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


def load_with_peft(encoder: nn.Module, folder: Path) -> nn.Module:
    """Return the encoder with the adapter of a folder in it, as PEFT loads it."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded: nn.Module = PeftModel.from_pretrained(encoder, str(folder)).base_model.model
    return loaded


def take_peft(model: MultitaskModel, task: str, folder: Path) -> None:
    """Load a task's adapter and head from a folder that `export_peft` wrote into a model of the run's spec.

    Args:
        model: built from the run's spec, and not loaded with trained weights yet.
        task: whose.
        folder: the task's.

    Raises:
        MissingError: a file of it is not there.
        DataError: it is damaged, or another adapter than the spec's.
        UsageError: the method's adapters are exported converted (Delta-LoRA, PiSSA), and do not come back.
    """
    config, weights = _read_config(folder / CONFIG), _read_weights(folder / WEIGHTS)
    AsPeft(model.method, model.encoder, list(model.heads)).take(task, config, weights)
    read_head(model, task, folder)


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_CONFIG + 1)
    except FileNotFoundError as error:
        raise MissingError(f"{path} is not there", "give the folder of one task of an export") from error
    if len(content) > _LARGEST_CONFIG:
        raise DataError(f"{path} is no adapter's configuration: it is larger than a MiB")
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {clean(error, 200)}") from error
    if not isinstance(config, dict):
        raise DataError(f"{path} is no adapter's configuration")
    return config


def _read_weights(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise MissingError(f"{path} is not there", "give the folder of one task of an export") from error
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} cannot be read: {clean(error, 200)}") from error
