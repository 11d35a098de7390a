"""Atomic writing of files in a run's folder."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import IO

from peftbench.errors import NO_ROOM, StorageError

WAITED_S, AGAIN_S = 60.0, 0.5
_CHECKPOINT = re.compile(r"(?:checkpoint|snapshot)-(\d{1,9})\.ckpt")


def weights_name(epoch: int, task: str | None = None) -> str:
    """Return the file name of an epoch's trained weights: all of them, or one task's."""
    return f"epoch-{epoch}-{task}.safetensors" if task else f"epoch-{epoch}.safetensors"


def write_whole(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file atomically: to a temporary one in the same folder, synced, then renamed, and the folder synced.

    Args:
        path: the file; its folder is created.
        fill: writes the content.

    Raises:
        OSError: it cannot be written; an existing file is unchanged.
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
    sync_folder(path.parent)


def when_there_is_room(write: Callable[[], object], note: Callable[[str, str], None]) -> None:
    """Write a file that the run requires; on a full disk, retry for a while.

    Raises:
        StorageError: it could not be written.
    """
    until, notified = time.monotonic() + WAITED_S, False
    while True:
        try:
            write()
            return
        except OSError as error:
            if error.errno not in NO_ROOM or time.monotonic() > until:
                raise StorageError(
                    f"the weights of the best epoch cannot be written: {error}",
                    f"{what_helps(error)}, then resume the run",
                ) from error
            if not notified:
                note("storage", f"the weights of the best epoch wait for free disk space: {error.strerror}")
                notified = True
        time.sleep(AGAIN_S)


def what_helps(error: OSError) -> str:
    """Return advice for a file that cannot be written."""
    if error.errno in NO_ROOM:
        return "free disk space"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "check the permissions of the folder, and whether its file system is mounted read-only"
    return "check the disk, or use another one"


def checkpoint_files(folder: Path) -> list[Path]:
    """Return a run's checkpoint files, the oldest first; earlier versions named them `snapshot-N.ckpt`."""
    return sorted((path for path in folder.glob("*.ckpt") if checkpoint_number(path)), key=checkpoint_number)


def checkpoint_number(path: Path) -> int:
    """Return the number of a checkpoint file; 0 for any other file."""
    match = _CHECKPOINT.fullmatch(path.name)
    return int(match[1]) if match else 0


def remove_checkpoints(folder: Path, keep: Collection[Path] = ()) -> None:
    """Delete a run's checkpoints: all of them once it has ended, or if each would lead to the same failure."""
    for path in checkpoint_files(folder):
        if path not in keep:
            with suppress(OSError):  # a leftover file only takes disk space
                path.unlink(missing_ok=True)


def remove_unfinished(folder: Path, name: str) -> None:
    """Delete temporary files left by a process killed while writing files of a name or pattern (`epoch-*`)."""
    for path in folder.glob(f"{name}.*.tmp"):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that a new name is on disk; not every file system supports it."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
