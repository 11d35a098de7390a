"""Trained weights on disk: adapters and heads together, in safetensors, written atomically."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from peftbench.errors import MissingError
from peftbench.model import MultitaskModel
from peftbench.text import clean
from peftbench.training.files import weights_name, write_whole

_NAME = re.compile(r"epoch-(\d+)(?:-(?P<task>[a-z][a-z0-9_-]*))?\.safetensors")


@dataclass(frozen=True, slots=True)
class FileMark:
    """Size in bytes and SHA-256 of a file as it was written."""

    size: int
    sha256: str


def weights_path(folder: Path, epoch: int, task: str | None = None) -> Path:
    """Return the path of an epoch's trained weights: all of them, or one task's."""
    return folder / weights_name(epoch, task)


def save_weights(weights: Mapping[str, Tensor], path: Path, spec_hash: str) -> FileMark:
    """Write weights atomically, and return the file's size and hash.

    Equal weights give equal bytes: safetensors orders several metadata keys at random, so there is only one.
    """
    from safetensors.torch import save

    tensors = {name: weight.detach().contiguous() for name, weight in weights.items()}
    content = save(tensors, {"spec_hash": spec_hash})
    write_whole(path, lambda file: file.write(content))
    return FileMark(len(content), hashlib.sha256(content).hexdigest())


def damage(path: Path, spec_hash: str, mark: FileMark | None) -> str | None:
    """Return what is wrong with a file of trained weights, as text; None where it is intact.

    Args:
        path: the file.
        spec_hash: of the run that wrote it.
        mark: its size and hash when written; None where unknown: then it must be readable, and of that spec.
    """
    from safetensors import SafetensorError, safe_open

    try:
        size = path.stat().st_size
        if mark is not None:
            if size != mark.size:
                return f"it has {size:,} bytes instead of {mark.size:,}"
            with path.open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == mark.sha256
            return None if same else "its SHA-256 differs"
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except FileNotFoundError:
        return "it does not exist"
    except (SafetensorError, OSError) as error:
        return f"it cannot be read: {clean(error, 100)}"
    return None if metadata.get("spec_hash") == spec_hash else "it belongs to another spec"


def load_weights(model: MultitaskModel, path: Path, spec_hashes: str | Collection[str]) -> None:
    """Load trained weights into a model built from the same spec.

    Args:
        model: receives them.
        path: the file.
        spec_hashes: the spec's hash, or all its hashes in earlier versions.

    Raises:
        MissingError: the file is absent, damaged, of another spec, or lacks a weight.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            stored: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise MissingError(f"the trained weights {path} do not exist", "train the run again") from error
    except (SafetensorError, OSError) as error:
        raise MissingError(f"the trained weights {path} are damaged: {error}", "train the run again") from error
    if metadata.get("spec_hash") not in ([spec_hashes] if isinstance(spec_hashes, str) else spec_hashes):
        raise MissingError(f"the trained weights {path} belong to another spec")
    task = (_NAME.fullmatch(path.name) or {"task": None})["task"]
    wanted = model.saved(task or None)
    if stored.keys() != wanted.keys() or any(stored[name].shape != wanted[name].shape for name in wanted):
        raise MissingError(f"the trained weights {path} do not fit the model", "was the encoder replaced?")
    for name, weight in wanted.items():
        weight.data.copy_(stored[name])


def remove_others(folder: Path, keep: set[Path]) -> None:
    """Delete checkpoints that are no longer the best of any task or of the average."""
    for path in folder.glob("epoch-*.safetensors"):
        if _NAME.fullmatch(path.name) and path not in keep:
            path.unlink(missing_ok=True)
