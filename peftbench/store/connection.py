"""Opening the SQLite file, with migration; files of other programs or newer versions are refused and left unchanged."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from peftbench.errors import MissingError
from peftbench.mounts import NETWORK, system_under
from peftbench.store.schema import APPLICATION_ID, SCHEMA_VERSION

BUSY_TIMEOUT_S = 30.0
LARGEST_IDLE_WAL = 16 * 2**20  # bytes to which a larger -wal file is truncated after a checkpoint
SWITCH_AGAIN_S = 0.02
LARGEST_COPY = 256 * 2**20  # bytes, of a database copied into memory
_CHOOSE = "choose another with --db FILE"


class FrozenConnection(sqlite3.Connection):
    """Connection to a database that this process cannot write: later changes by others are not seen."""


class Connected:
    """What holds a connection and is used as a context, which closes it."""

    _connection: sqlite3.Connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()


def open_for_reading(path: Path) -> sqlite3.Connection | None:
    """Open the database read-only; None where there is none yet. An older schema version is migrated first.

    A database that cannot be written (an archive's, a colleague's, on a read-only mount) is read without SQLite's
    auxiliary files; one of an older schema version is copied into memory, and the copy is migrated.

    Raises:
        MissingError: the file is no database, another program's, of a newer version, or not readable; or it is of an
            older version, cannot be written, and is too large for a copy in memory.
    """
    if not path.exists():
        return None
    _refuse_networks(path)
    connection = connect_read_only(path)
    version = _version(connection, path)
    if version == SCHEMA_VERSION:
        return connection
    if version and not writable(path):
        return _upgraded_copy(connection, path)
    connection.close()
    if version == 0:
        return None
    open_for_writing(path).close()
    return connect_read_only(path)


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Connect read-only to an existing file of any version, without writing anything.

    Raises:
        MissingError: it cannot be read.
    """
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise MissingError(
            f"database {path}: cannot be read: {error.strerror or error}{_permissions(path)}", _CHOOSE
        ) from error
    if writable(path) or _has_content(_wal(path)):
        return _connect(f"{path.resolve().as_uri()}?mode=ro", path)
    return _connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", path, FrozenConnection)


def writable(path: Path) -> bool:
    """Tell whether an existing file, and SQLite's auxiliary files beside it, can be written."""
    path = path.resolve()
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)


def open_for_writing(path: Path, create: bool = True) -> sqlite3.Connection:
    """Open the database, created and migrated where needed.

    Args:
        path: the file.
        create: create the file if it does not exist; otherwise that is an error.

    Raises:
        MissingError: as for `open_for_reading`; or the folder or file cannot be written.
    """
    if not create and not path.exists():
        raise MissingError(f"database {path} does not exist", "choose another with --db FILE")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MissingError(
            f"database folder {path.parent}: {error.strerror or error}", "choose another with --db FILE"
        ) from error
    _refuse_networks(path)
    if path.is_file() and not writable(path):
        raise MissingError(
            f"database {path}: you have no write permission{_permissions(path)}",
            "it can be read; to write, copy it into a folder of your own, or choose another with --db FILE",
        )
    connection = _connect(f"{path.resolve().as_uri()}?mode=rwc", path)
    version = _version(connection, path)
    try:
        if version < SCHEMA_VERSION:
            _migrate(connection)
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {LARGEST_IDLE_WAL}")
    except sqlite3.Error as error:
        connection.close()
        raise MissingError(f"database {path}: cannot be written: {error}", "choose another with --db FILE") from error
    return connection


def _refuse_networks(path: Path) -> None:
    """Refuse network file systems: SQLite's locks and shared memory work within one machine only.

    Raises:
        MissingError: the file is, or would be, on a network file system.
    """
    try:
        mount = system_under(path.resolve())
    except OSError:  # no /proc here, so the file system is unknown
        return
    if mount is not None and mount[0] in NETWORK:
        raise MissingError(
            f"database {path}: it is on {mount[0]}, mounted at {mount[1]}, a network file system, on which SQLite"
            " can lose data",
            "keep it on a local disk with --db FILE or PEFTBENCH_DB, and copy it when runs have ended",
        )


def _upgraded_copy(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """Return a migrated in-memory copy of a database of an older schema version; close the original.

    Raises:
        MissingError: it is too large, or cannot be read.
    """
    size = path.stat().st_size
    if size > LARGEST_COPY:
        connection.close()
        raise MissingError(
            f"database {path}: an older peftbench wrote it, you have no write permission{_permissions(path)}, and it is"
            f" too large ({size / 2**20:,.0f} MiB) to be migrated in memory",
            "copy it into a folder of your own, and open the copy with --db FILE: that migrates it",
        )
    copy = sqlite3.connect(":memory:", isolation_level=None, factory=FrozenConnection)
    try:
        connection.backup(copy)
        _migrate(copy)
        copy.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        copy.close()
        raise MissingError(f"database {path}: cannot be read: {error}", _CHOOSE) from error
    finally:
        connection.close()
    return copy


def _wal(path: Path) -> Path:
    path = path.resolve()
    return path.with_name(f"{path.name}-wal")


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _permissions(path: Path) -> str:
    """Return mode and owner of a file and its folder, in parentheses, for a message."""
    parts = []
    for name, target in (("the file", path.resolve()), ("its folder", path.resolve().parent)):
        with suppress(OSError):
            status = target.stat()
            parts.append(f"{name} is {stat.filemode(status.st_mode)} of user {status.st_uid}")
    return f" ({', '.join(parts)})" if parts else ""


def _connect(uri: str, path: Path, kind: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, factory=kind)
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error as error:
        raise MissingError(f"database {path}: cannot be opened: {error}", "choose another with --db FILE") from error
    return connection


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the file's schema version; 0 where it is new and empty."""
    try:
        # Another program may create the schema between two of these; in this order the file passes as new or as ours.
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
    except sqlite3.DatabaseError as error:
        connection.close()
        if not writable(path) and _has_content(_wal(path)):
            raise MissingError(
                f"database {path}: its write-ahead log {_wal(path).name} has changes that cannot be read from here:"
                f" {error}{_permissions(path)}",
                f"end its owner's programs, or copy it together with {_wal(path).name} into a folder of your own",
            ) from error
        raise MissingError(
            f"{path} is not a readable database: {error}",
            "the file was not changed; choose another with --db FILE",
        ) from error
    if application == 0 and version == 0 and tables == 0:
        return 0
    connection_is_ours = application == APPLICATION_ID
    if connection_is_ours and version <= SCHEMA_VERSION:
        return int(version)
    connection.close()
    if not connection_is_ours:
        raise MissingError(
            f"{path} is another program's SQLite database",
            "the file was not changed; choose another with --db FILE",
        )
    raise MissingError(
        f"{path} was written by a newer peftbench (schema {version}, this one supports {SCHEMA_VERSION})",
        "the file was not changed; upgrade peftbench, or choose another with --db FILE",
    )


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL, with retries: SQLite's busy time-out does not apply while another connection switches too."""
    until = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(SWITCH_AGAIN_S)


def _migrate(connection: sqlite3.Connection) -> None:
    """Apply pending migrations in one exclusive transaction, so that concurrent programs migrate once."""
    from sqlite_utils import Database

    from peftbench.store.prediction_sets import add_functions
    from peftbench.store.schema import migrations

    _use_wal(connection)
    connection.execute("PRAGMA foreign_keys = OFF")  # tables are rebuilt, which must not cascade to their rows
    connection.execute("BEGIN IMMEDIATE")
    try:
        add_functions(connection)
        migrations().apply(Database(connection))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    finally:
        connection.execute("PRAGMA foreign_keys = ON")
