"""Folder paths in a spec, made absolute so that a run and its hash do not depend on the working directory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peftbench.encoder import EMBEDDED_NAME

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def is_folder(name: str) -> bool:
    """Return whether `name` is an existing folder, relative to the working directory."""
    try:
        return bool(name) and Path(name).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):  # name too long, no home directory for `~user`, or a NUL byte
        return False


def make_absolute(tree: dict[str, Any], origins: dict[str, str]) -> None:
    """Replace relative folder paths in a spec's tables by absolute ones, resolved from the working directory.

    A name that could also be a hub repository is taken as a folder where that folder exists; its origin notes this.

    Args:
        tree: the spec's tables, before they are validated.
        origins: the source of each value, by dotted key.
    """
    for table, key, dotted, is_always_a_folder in _names(tree):
        name = table.get(key)
        if not isinstance(name, str) or not name or Path(name).is_absolute() or name == EMBEDDED_NAME:
            continue
        if not (is_always_a_folder or name.startswith((".", "~")) or is_folder(name)):
            continue
        try:
            table[key] = os.path.abspath(Path(name).expanduser())  # noqa: PTH100  (symbolic links are not resolved)
        except RuntimeError:  # no home directory for `~user`: reported when the folder is opened
            continue
        if not is_always_a_folder and _HUB_NAME.fullmatch(name):
            origins[dotted] = f"{origins.get(dotted, 'default')} (the folder here, not '{name}' of the hub)"


def _names(tree: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, str, bool]]:
    """Yield each table and key that may hold a folder, its dotted key, and whether it can hold only a folder."""
    encoder, tasks, augment = (tree.get(part) for part in ("encoder", "tasks", "augment"))
    if isinstance(encoder, dict):
        yield encoder, "name", "encoder.name", False
    for name, task in tasks.items() if isinstance(tasks, dict) else ():
        source = task.get("source") if isinstance(task, dict) else None
        if isinstance(source, dict):
            yield source, "root", f"tasks.{name}.source.root", True
            if source.get("type") == "hub":
                yield source, "path", f"tasks.{name}.source.path", False
    translation = augment.get("backtranslate") if isinstance(augment, dict) else None
    if isinstance(translation, dict):
        for key in ("model", "back_model"):
            yield translation, key, f"augment.backtranslate.{key}", False
