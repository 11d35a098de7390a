"""Read-only check of a database file: application, schema version and integrity."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from peftbench.errors import MissingError
from peftbench.store.connection import connect_read_only
from peftbench.store.schema import APPLICATION_ID, SCHEMA_VERSION

MIB = 2**20
LOOKED_FOR_S = 30.0  # time limit of the check: a database of gigabytes on a slow disk would take too long
_STEPS = 100_000  # SQLite virtual machine instructions between two checks of the time


@dataclass(frozen=True, slots=True)
class Health:
    """Result of a check. `trouble`: SQLite's messages where the file is damaged; `complete`: the check finished."""

    size_mib: float
    wal_mib: float
    version: int
    trouble: str | None = None
    complete: bool = True

    @property
    def older(self) -> bool:
        """Whether the schema is of an older version."""
        return self.version < SCHEMA_VERSION


def look(path: Path) -> Health:
    """Check an existing database. It is opened read-only and, unlike by other readers, never migrated.

    Raises:
        MissingError: it is no database, another program's, of a newer peftbench, or cannot be read.
    """
    wal = path.with_name(f"{path.name}-wal")
    size_mib, wal_mib = (file.stat().st_size / MIB if file.exists() else 0.0 for file in (path, wal))
    version = 0
    try:
        with closing(connect_read_only(path)) as connection:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            _refuse_strangers(path, application, version, tables)
            trouble, complete = _quick_check(connection)
    except sqlite3.Error as error:
        if _code(error) == sqlite3.SQLITE_CORRUPT:
            return Health(size_mib, wal_mib, version, str(error))
        raise MissingError(
            f"{path} is not a readable database: {error}",
            "the file was not changed; choose another with --db FILE",
        ) from error
    return Health(size_mib, wal_mib, version, trouble, complete)


def _refuse_strangers(path: Path, application: int, version: int, tables: int) -> None:
    if application != APPLICATION_ID and (application or version or tables):
        raise MissingError(f"{path} is another program's SQLite database", "choose another with --db FILE")
    if version > SCHEMA_VERSION:
        raise MissingError(
            f"{path} was written by a newer peftbench (schema {version}, this one supports {SCHEMA_VERSION})",
            "upgrade peftbench, or choose another with --db FILE",
        )


def _quick_check(connection: sqlite3.Connection) -> tuple[str | None, bool]:
    """Return SQLite's complaints (None: none), and whether the check finished in time."""
    until = time.monotonic() + LOOKED_FOR_S
    connection.set_progress_handler(lambda: int(time.monotonic() > until), _STEPS)
    try:
        messages = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.OperationalError as error:
        if _code(error) != sqlite3.SQLITE_INTERRUPT:
            raise
        return None, False
    return (None if messages == ["ok"] else "; ".join(messages)), True


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code of an error; 0 where it has none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
