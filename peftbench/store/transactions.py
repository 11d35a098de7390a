"""Writing SQLite in short transactions: the base class of all writers."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peftbench.store.connection import Connected, open_for_writing
from peftbench.store.rows import ACTIVE_STATES, RESUMABLE_STATES, State, now

OUTSIDERS = 1_000_000  # event sequence numbers below belong to processes other than workers; each attempt has as many


class Transactions(Connected):
    """A writing connection, used as a context; not shared between threads.

    Raises:
        MissingError: the database cannot be opened for writing.
    """

    def __init__(self, path: Path, create: bool = True) -> None:
        self.path = path
        self._connection = open_for_writing(path, create)
        self._durable = False

    @contextmanager
    def _transaction(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """Commit all statements inside, or none. A `durable` transaction survives a power failure."""
        if durable != self._durable:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def what_helps(error: sqlite3.Error | None) -> str:
    """Return advice for a database that cannot be written."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH):
        return "check the permissions of the file and its folder, and whether its file system is mounted read-only"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another program holds its lock: end that program, or wait"
    if code == sqlite3.SQLITE_FULL:
        return "free disk space"
    return "check the disk: its free space and its health"


def move(
    connection: sqlite3.Connection,
    run_id: str,
    to: State,
    since: Collection[str],
    reason: str | None = None,
    columns: Mapping[str, Any] | None = None,
) -> bool:
    """Change a run's state, with time and reason, if its current state is in `since`; False where it is not."""
    values = {"state": to, "state_at": now(), "reason": reason, **(columns or {})}
    if to in RESUMABLE_STATES or to == "finished":
        values["finished_at"] = values["state_at"]
    marks = ", ".join("?" * len(since))
    cursor = connection.execute(
        f"UPDATE runs SET {', '.join(f'{name} = ?' for name in values)} WHERE id = ? AND state IN ({marks})",
        (*values.values(), run_id, *since),
    )
    if cursor.rowcount:
        put_event(connection, run_id, "state", f"{to}: {reason}" if reason else to)
        if to not in ACTIVE_STATES:
            connection.execute("DELETE FROM progress WHERE run_id = ?", (run_id,))
    return bool(cursor.rowcount)


def put_event(connection: sqlite3.Connection, run_id: str, kind: str, message: str) -> None:
    """Store an event of a process other than a worker."""
    connection.execute(
        "INSERT INTO events SELECT ?1, coalesce(max(sequence), 0) + 1, ?2, ?3, ?4 FROM events"
        " WHERE run_id = ?1 AND sequence < ?5",
        (run_id, now(), kind, message, OUTSIDERS),
    )
