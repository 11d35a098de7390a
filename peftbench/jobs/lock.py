"""File lock for one runner per database and machine; the kernel releases it when its holder dies.

The machine is identified by boot id and PID namespace: its host name may change while a runner works.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from peftbench.jobs.liveness import where
from peftbench.paths import runs_folder

_TRIES = 10
_TRY_AGAIN_S = 0.05


class RunnerLock:
    """The lock, initially not held. Leaving the context releases it."""

    def __init__(self, database: Path) -> None:
        machine = hashlib.sha256(where().encode()).hexdigest()[:12]
        host = re.sub("[^A-Za-z0-9.-]", "_", platform.node()) or "host"
        folder = runs_folder(database)  # two databases may share it
        self.path = folder / f"runner-{database.name}-{machine}.lock"
        self.earlier = folder / f"runner-{database.name}-{host}.lock"  # as named by an earlier version
        self._file: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def take(self) -> bool:
        """Take the lock and write the own PID into it; return False where another process holds it."""
        if _holder(self.earlier) is not None:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not _locked(file):
            os.close(file)
            return False
        self._file = file
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        return True

    def release(self) -> None:
        """Release the lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def holder(self) -> int | None:
        """Return the PID of the process that holds the lock; None where none does."""
        pid = _holder(self.path)
        return pid if pid is not None else _holder(self.earlier)

    def held_last_by(self, pid: int) -> bool:
        """Tell whether a process holds the lock, or was the last to hold it."""
        try:
            return self.path.read_text("ascii", "replace").strip() == str(pid)
        except OSError:
            return False


def _locked(file: int) -> bool:
    """Take an exclusive lock on an open file; False where another process holds it.

    A process that looks up the holder takes the lock for a moment, longer on a busy machine: hence several tries.
    """
    for _ in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_TRY_AGAIN_S)
        else:
            return True
    return False


def _holder(path: Path) -> int | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(file, 20, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(file)
    return None
