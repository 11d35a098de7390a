"""Files of a run's folder that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import IO

from peftbench.errors import NO_ROOM, StorageError

WAITED_S, AGAIN_S = 60.0, 0.5


def checkpoint_name(epoch: int, task: str | None = None) -> str:
    """Return the name of an epoch's file: of every trained weight, or one task's alone."""
    return f"epoch-{epoch}-{task}.safetensors" if task else f"epoch-{epoch}.safetensors"


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
    sync_folder(path.parent)


def when_there_is_room(write: Callable[[], object], note: Callable[[str, str], None]) -> None:
    """Write what a run cannot do without; on a full disk, wait a while for room.

    Raises:
        StorageError: it could not be written.
    """
    until, told = time.monotonic() + WAITED_S, False
    while True:
        try:
            write()
            return
        except OSError as error:
            if error.errno not in NO_ROOM or time.monotonic() > until:
                raise StorageError(
                    f"the weights of the best epoch cannot be written: {error}", "make room, then resume the run"
                ) from error
            if not told:
                note("storage", f"the weights of the best epoch wait for room on the disk: {error.strerror}")
                told = True
        time.sleep(AGAIN_S)


def remove_snapshots(folder: Path, keep: Collection[Path] = ()) -> None:
    """Delete a run's snapshots: all of them once it is over, or would come to the same failure from each."""
    for path in folder.glob("snapshot-*.ckpt"):
        if path not in keep:
            with suppress(OSError):  # it only takes room
                path.unlink(missing_ok=True)


def remove_unfinished(folder: Path, name: str) -> None:
    """Delete what a process that was killed while writing left of files so named (a pattern such as `epoch-*`)."""
    for path in folder.glob(f"{name}.*.tmp"):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Let the new name be on the disk; not every file system knows how."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
