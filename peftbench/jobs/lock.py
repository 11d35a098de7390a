"""One runner for each database and host: a lock on a file, which the kernel takes back when its holder dies."""

from __future__ import annotations

import fcntl
import os
import platform
import re
from pathlib import Path
from types import TracebackType
from typing import Self

from peftbench.paths import runs_folder


class RunnerLock:
    """The lock, not yet held. As a context it lets go at the end."""

    def __init__(self, database: Path) -> None:
        host = re.sub("[^A-Za-z0-9.-]", "_", platform.node()) or "host"
        self.path = runs_folder(database) / f"runner-{database.name}-{host}.lock"  # two databases may share a folder
        self._file: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def take(self) -> bool:
        """Take the lock; False where another process has it. What holds it writes its number into it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        return True

    def release(self) -> None:
        """Let go of it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @property
    def held(self) -> bool:
        """Whether this process holds it through this object."""
        return self._file is not None

    def holder(self) -> int | None:
        """Return the number of the process that holds it; None where nobody does."""
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            said = os.pread(file, 20, 0).decode("ascii", "replace").strip()
            return int(said) if said.isdigit() else 0
        finally:
            os.close(file)
        return None
