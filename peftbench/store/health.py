"""Looking at a database file without changing it: whose, of which version, and whether it is sound."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from peftbench.errors import MissingError
from peftbench.store.schema import APPLICATION_ID, SCHEMA_VERSION

MIB = 2**20
LOOKED_FOR_S = 30.0  # a database of gigabytes on a slow disk takes longer than anybody waits
_STEPS = 100_000  # of SQLite's machine between two looks at the clock


@dataclass(frozen=True, slots=True)
class Health:
    """What a look showed. `trouble` is SQLite's words where the file is damaged; `complete` that all was looked at."""

    size_mib: float
    wal_mib: float
    version: int
    trouble: str | None = None
    complete: bool = True

    @property
    def older(self) -> bool:
        """Whether an older peftbench wrote it."""
        return self.version < SCHEMA_VERSION


def look(path: Path) -> Health:
    """Look at a database that is there. It is opened read-only and, unlike by every reader, never migrated.

    Raises:
        MissingError: it is no database, another program's, of a newer peftbench, or cannot be read.
    """
    wal = path.with_name(f"{path.name}-wal")
    size_mib, wal_mib = (file.stat().st_size / MIB if file.exists() else 0.0 for file in (path, wal))
    version = 0
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            _refuse_strangers(path, application, version, tables)
            trouble, complete = _quick_check(connection)
    except sqlite3.Error as error:
        if _code(error) == sqlite3.SQLITE_CORRUPT:
            return Health(size_mib, wal_mib, version, str(error))
        raise MissingError(
            f"{path} is not a database that can be read: {error}",
            "it was left as it is; choose another with --db FILE",
        ) from error
    return Health(size_mib, wal_mib, version, trouble, complete)


def _refuse_strangers(path: Path, application: int, version: int, tables: int) -> None:
    if application != APPLICATION_ID and (application or version or tables):
        raise MissingError(f"{path} is another program's SQLite database", "choose another with --db FILE")
    if version > SCHEMA_VERSION:
        raise MissingError(
            f"{path} was written by a newer peftbench (schema {version}, this one knows {SCHEMA_VERSION})",
            "upgrade peftbench, or choose another with --db FILE",
        )


def _quick_check(connection: sqlite3.Connection) -> tuple[str | None, bool]:
    """Return what SQLite finds wrong (None: nothing), and whether it came to the end."""
    until = time.monotonic() + LOOKED_FOR_S
    connection.set_progress_handler(lambda: int(time.monotonic() > until), _STEPS)
    try:
        said = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.OperationalError as error:
        if _code(error) != sqlite3.SQLITE_INTERRUPT:
            raise
        return None, False
    return (None if said == ["ok"] else "; ".join(said)), True


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code of an error; 0 where it has none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
