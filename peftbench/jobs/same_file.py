"""Detection of a database file that was deleted, moved or replaced while it was open."""

from __future__ import annotations

from pathlib import Path

from peftbench.errors import EXIT_FAILED, Interrupted


class DatabaseGone(Interrupted):
    """The database was deleted, moved or replaced, so that anything written is lost. The run must stop."""

    exit_code = EXIT_FAILED

    def __init__(self, database: Path) -> None:
        super().__init__(
            f"database {database}: it was deleted, moved or replaced during the run",
            "the run's checkpoints are kept; put the database back, or a backup of it, then resume the run",
        )


class SameFile:
    """Identity (device, inode) of a file at construction.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = self._look()

    def there(self) -> bool:
        """Tell whether the path still names the same file; True where that cannot be determined."""
        try:
            return self._look() == self._file
        except OSError:
            return True

    def _look(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_dev, status.st_ino
