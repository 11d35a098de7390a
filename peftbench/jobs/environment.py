"""The environment in which a run was queued, reproduced for its worker: Python, working folder, relevant variables.

It is stored in the run's folder, readable for its owner only, since the worker may be started later from elsewhere.
Secrets are left out: what needs one (a private model, say) takes it from the process that starts the worker.
"""

from __future__ import annotations

import json
import os
import re
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
# Matched against the words of a name, alone or as a suffix (`APIKEY`, `DBPASSWD`), in singular or plural.
_SECRET = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|APIKEY|KEY|CREDENTIAL|BEARER|COOKIE|SIGNATURE)S?$|^(PASS|PWD|PAT|AUTH|CREDS?)$"
)
_LOGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s]*@", re.IGNORECASE)  # user:password@ before a host
_QUERY = re.compile(
    r"[?&;](?:[^=&#\s]*(?:token|secret|password|passwd|key|credential|auth|signature|sig))=", re.IGNORECASE
)
_FILE = "surroundings.json"


@dataclass(frozen=True, slots=True)
class WorkerEnvironment:
    """The Python, working folder and kept variables of the process that queued a run."""

    python: str
    folder: str
    variables: dict[str, str]

    def environment(self, of_starter: Mapping[str, str]) -> dict[str, str]:
        """Return a worker's variables: kept names exactly as stored, including absent ones; others as given."""
        return {**{name: value for name, value in of_starter.items() if not _is_kept(name)}, **self.variables}


def keep(folder: Path, device: str | None = None) -> None:
    """Store the calling process's environment in a run's folder, which is created; written atomically.

    Args:
        folder: the run's folder.
        device: UUID of the GPU to run on, or "" for the CPU; None: as stored before, else any.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    variables = {name: value for name, value in os.environ.items() if _is_kept(name) and not _has_login(value)}
    content = {"python": sys.executable, "folder": str(Path.cwd()), "variables": variables}
    device = _device_before(folder) if device is None else device
    if device is not None:
        content["device"] = device
        variables["CUDA_VISIBLE_DEVICES"] = device
    with NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8", errors="surrogateescape") as out:
        json.dump(content, out)  # temporary files are readable for their owner only
    Path(out.name).replace(folder / _FILE)


def kept(folder: Path) -> WorkerEnvironment:
    """Return the environment stored in a run's folder.

    Raises:
        MissingError: it cannot be read.
    """
    try:
        content = json.loads((folder / _FILE).read_text("utf-8", "surrogateescape"))
        variables = {str(name): str(value) for name, value in dict(content["variables"]).items()}
        return WorkerEnvironment(str(content["python"]), str(content["folder"]), variables)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingError(
            f"{folder / _FILE}: the run's stored environment cannot be read: {error}",
            "retry the run: peftbench retry RUN",
        ) from error


def _device_before(folder: Path) -> str | None:
    with suppress(OSError, ValueError, TypeError, AttributeError):
        device = json.loads((folder / _FILE).read_text("utf-8", "surrogateescape")).get("device")
        return None if device is None else str(device)
    return None


def _is_kept(name: str) -> bool:
    words = name.upper().split("_")
    return words[0] in _KEPT and not any(map(_SECRET.search, words))


def _has_login(value: str) -> bool:
    """Tell whether a value has credentials in a URL: before its host, or as a parameter."""
    return _LOGIN.search(value) is not None or ("://" in value and _QUERY.search(value) is not None)
