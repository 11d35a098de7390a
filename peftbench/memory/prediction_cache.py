"""Disk cache of memory predictions: runs of a group differ only in their seed and share one prediction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers

from peftbench.paths import cache_folder
from peftbench.training.files import write_whole
from peftbench.version import __version__

_CACHE_VERSION = 1  # increment when the prediction procedure changes


def known_or(compute: Callable[[], Mapping[str, Any]], *determinants: object) -> dict[str, Any]:
    """Return the cached prediction for the determinants and library versions, else compute and cache it.

    An unreadable or altered file is recomputed; write errors are ignored.

    Args:
        compute: computes the prediction.
        determinants: everything that the prediction depends on, identified by `repr`.
    """
    versions = (_CACHE_VERSION, __version__, torch.__version__, transformers.__version__, version("peft"))
    key = hashlib.sha256(repr((versions, determinants)).encode("utf-8", "surrogatepass")).hexdigest()
    path = cache_folder() / "memory" / f"{key}.json"
    known = _read(path)
    if known is not None:
        return known
    prediction = dict(compute())
    content = json.dumps(prediction)
    with suppress(OSError):
        write_whole(path, lambda file: file.write(f"{_sha256(content)}\n{content}".encode()))
    return prediction


def _read(path: Path) -> dict[str, Any] | None:
    try:
        sha256, _, content = path.read_text("utf-8").partition("\n")
        if _sha256(content) != sha256:
            return None
        parsed = json.loads(content)
    except (OSError, ValueError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
