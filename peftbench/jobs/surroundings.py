"""What a run's worker must find as its user had it: the Python, the folder, and variables that change what it does.

They are kept in the run's folder, readable for its owner only: whoever starts the worker later may have been started
from elsewhere. Secrets are left out: what needs one (a private model, say) takes it from the one who starts it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from peftbench.errors import MissingError

# fmt: off
_KEPT = frozenset({
    "CUDA", "NVIDIA", "GPU", "OMP", "MKL", "KMP", "GOMP", "OPENBLAS", "DNNL", "ONEDNN", "TORCH", "PYTORCH", "HF",
    "TRANSFORMERS", "TOKENIZERS", "PEFTBENCH", "LD", "PYTHONPATH", "PYTHONHASHSEED", "VIRTUAL", "CONDA", "XDG",
    "MALLOC", "NLTK", "TMPDIR",
})
# fmt: on
_SECRET = frozenset({"TOKEN", "SECRET", "PASSWORD", "KEY", "CREDENTIAL", "CREDENTIALS", "AUTH"})
_FILE = "surroundings.json"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The Python, the folder and the kept variables of whoever queued a run."""

    python: str
    folder: str
    variables: dict[str, str]

    def environment(self, of_starter: Mapping[str, str]) -> dict[str, str]:
        """Return a worker's variables: the kept kinds as they were kept, absent ones included; others as given."""
        return {**{name: value for name, value in of_starter.items() if not _is_kept(name)}, **self.variables}


def keep(folder: Path, device: str | None = None) -> None:
    """Write down the calling process's surroundings for the run of a folder, which is made; whole or not at all.

    Args:
        folder: the run's.
        device: the card's UUID that it is to run on, or "" for the CPU; None: as it was said before, else any.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    variables = {name: value for name, value in os.environ.items() if _is_kept(name)}
    content = {"python": sys.executable, "folder": str(Path.cwd()), "variables": variables}
    device = _device_before(folder) if device is None else device
    if device is not None:
        content["device"] = device
        variables["CUDA_VISIBLE_DEVICES"] = device
    with NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8", errors="surrogateescape") as out:
        json.dump(content, out)  # for its owner's eyes only, as every temporary file
    Path(out.name).replace(folder / _FILE)


def kept(folder: Path) -> Surroundings:
    """Return what was kept for the run of a folder.

    Raises:
        MissingError: it cannot be read.
    """
    try:
        content = json.loads((folder / _FILE).read_text("utf-8", "surrogateescape"))
        variables = {str(name): str(value) for name, value in dict(content["variables"]).items()}
        return Surroundings(str(content["python"]), str(content["folder"]), variables)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingError(
            f"{folder / _FILE}: what the run is to be started with cannot be read: {error}",
            "retry the run: peftbench retry RUN",
        ) from error


def _device_before(folder: Path) -> str | None:
    with suppress(OSError, ValueError, TypeError, AttributeError):
        device = json.loads((folder / _FILE).read_text("utf-8", "surrogateescape")).get("device")
        return None if device is None else str(device)
    return None


def _is_kept(name: str) -> bool:
    words = name.upper().split("_")
    return words[0] in _KEPT and _SECRET.isdisjoint(words)
