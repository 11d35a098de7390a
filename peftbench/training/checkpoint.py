"""Trained weights on disk: adapters and heads together, in safetensors, written whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from peftbench.errors import MissingError
from peftbench.model import MultitaskModel
from peftbench.training.files import checkpoint_name, write_whole

_NAME = re.compile(r"epoch-(\d+)(?:-(?P<task>[a-z][a-z0-9_-]*))?\.safetensors")


def checkpoint_path(folder: Path, epoch: int, task: str | None = None) -> Path:
    """Return the file of an epoch: every trained weight, or one task's alone."""
    return folder / checkpoint_name(epoch, task)


def save_weights(weights: Mapping[str, Tensor], path: Path, spec_hash: str) -> None:
    """Write weights atomically.

    The same weights give the same bytes: safetensors orders several metadata keys at random, so there is one.
    """
    from safetensors.torch import save

    tensors = {name: weight.detach().contiguous() for name, weight in weights.items()}
    content = save(tensors, {"spec_hash": spec_hash})
    write_whole(path, lambda file: file.write(content))


def load_weights(model: MultitaskModel, path: Path, spec_hash: str) -> None:
    """Load trained weights into a model built from the same spec.

    Raises:
        MissingError: the file is absent, damaged, of another spec, or lacks a weight.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            stored: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise MissingError(f"the trained weights {path} are not there", "train the run again") from error
    except (SafetensorError, OSError) as error:
        raise MissingError(f"the trained weights {path} are damaged: {error}", "train the run again") from error
    if metadata.get("spec_hash") != spec_hash:
        raise MissingError(f"the trained weights {path} belong to another spec")
    task = (_NAME.fullmatch(path.name) or {"task": None})["task"]
    wanted = model.saved(task or None)
    if stored.keys() != wanted.keys() or any(stored[name].shape != wanted[name].shape for name in wanted):
        raise MissingError(f"the trained weights {path} do not fit the model", "was the encoder exchanged?")
    for name, weight in wanted.items():
        weight.data.copy_(stored[name])


def remove_others(folder: Path, keep: set[Path]) -> None:
    """Delete checkpoints that are no longer the best of anything."""
    for path in folder.glob("epoch-*.safetensors"):
        if _NAME.fullmatch(path.name) and path not in keep:
            path.unlink(missing_ok=True)
