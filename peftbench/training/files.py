"""Files of a run's folder that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO


def write_whole(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file atomically: to a temporary one in the same folder, synced, then renamed, and the folder synced.

    Args:
        path: the file; its folder is made.
        fill: writes the content.

    Raises:
        OSError: it cannot be written; what was there before is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", suffix=".tmp", delete=False) as file:
        try:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    _sync_folder(path.parent)


def remove_unfinished(folder: Path, name: str) -> None:
    """Delete what a process that was killed while writing left of files so named (a pattern such as `epoch-*`)."""
    for path in folder.glob(f"{name}.*.tmp"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Let the new name be on the disk; not every file system knows how."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
