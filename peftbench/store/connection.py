"""Opening the SQLite file: ours, of a version we know, and otherwise refused and left as it is."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from peftbench.errors import MissingError
from peftbench.mounts import NETWORK, system_under
from peftbench.store.schema import APPLICATION_ID, SCHEMA_VERSION

BUSY_TIMEOUT_S = 30.0
LARGEST_IDLE_WAL = 16 * 2**20  # a -wal file that grew larger is cut to this when it is folded in
SWITCH_AGAIN_S = 0.02


def open_for_reading(path: Path) -> sqlite3.Connection | None:
    """Open the database read-only; None where there is none yet. One of an older version is brought up to date first.

    Raises:
        MissingError: the file is no database, another program's, of a newer version, or not readable; or it is of an
            older version and cannot be written.
    """
    if not path.exists():
        return None
    _refuse_networks(path)
    connection = _connect(f"{path.resolve().as_uri()}?mode=ro", path)
    version = _version(connection, path)
    if version == SCHEMA_VERSION:
        return connection
    connection.close()
    if version == 0:
        return None
    open_for_writing(path).close()
    return _connect(f"{path.resolve().as_uri()}?mode=ro", path)


def open_for_writing(path: Path, create: bool = True) -> sqlite3.Connection:
    """Open the database, created and migrated where needed.

    Args:
        path: the file.
        create: make it where it is not there; else that is an error.

    Raises:
        MissingError: as `open_for_reading`; or the folder or file cannot be written.
    """
    if not create and not path.exists():
        raise MissingError(f"database {path} is not there (any more)", "choose another with --db FILE")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MissingError(
            f"database folder {path.parent}: {error.strerror or error}", "choose another with --db FILE"
        ) from error
    _refuse_networks(path)
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
    """SQLite's locks and shared memory hold for the programs of one machine.

    Raises:
        MissingError: the file lies, or would lie, on a network file system.
    """
    try:
        found = system_under(path.resolve())
    except OSError:  # no /proc here: it cannot be told
        return
    if found is not None and found[0] in NETWORK:
        raise MissingError(
            f"database {path}: it lies on {found[0]}, mounted at {found[1]}, a network file system, over which SQLite"
            " can lose data",
            "keep it on a local disk with --db FILE or PEFTBENCH_DB, and copy it when runs have ended",
        )


def _connect(uri: str, path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error as error:
        raise MissingError(f"database {path}: cannot be opened: {error}", "choose another with --db FILE") from error
    return connection


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the file's schema version: 0 where it is new and empty."""
    try:
        # Another program may commit the schema between two of these. In this order it is taken for new or for ours.
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
    except sqlite3.DatabaseError as error:
        connection.close()
        raise MissingError(
            f"{path} is not a database that can be read: {error}",
            "it was left as it is; choose another with --db FILE",
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
            "it was left as it is; choose another with --db FILE",
        )
    raise MissingError(
        f"{path} was written by a newer peftbench (schema {version}, this one knows {SCHEMA_VERSION})",
        "it was left as it is; upgrade peftbench, or choose another with --db FILE",
    )


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite's own time-out does not cover the moment at which another connection switches too."""
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
    """Apply what is pending under one exclusive transaction: two programs at once migrate once."""
    from sqlite_utils import Database

    from peftbench.store.schema import migrations

    _use_wal(connection)
    connection.execute("PRAGMA foreign_keys = OFF")  # tables are made anew, and their rows must outlive that
    connection.execute("BEGIN IMMEDIATE")
    try:
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
