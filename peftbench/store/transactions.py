"""Writing SQLite in short transactions; what everything that writes has in common."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from peftbench.store.connection import open_for_writing
from peftbench.store.rows import ACTIVE_STATES, RESUMABLE_STATES, State, now

OUTSIDERS = 1_000_000  # sequence numbers of events below are of others than workers; each session has as many


class Transactions:
    """A connection that writes. Use it as a context; not shared between threads.

    Raises:
        MissingError: the database cannot be opened for writing.
    """

    def __init__(self, path: Path, create: bool = True) -> None:
        self.path = path
        self._connection = open_for_writing(path, create)
        self._durable = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """Commit what is done inside, or nothing of it. A `durable` one is on the disk afterwards, come a power cut."""
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


def move(
    connection: sqlite3.Connection,
    run_id: str,
    to: State,
    since: Collection[str],
    reason: str | None = None,
    columns: Mapping[str, Any] | None = None,
) -> bool:
    """Change a run's state, with time and reason, if it is in one of the states `since`; False where it is not."""
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
    """Store an event of another than a worker."""
    connection.execute(
        "INSERT INTO events SELECT ?1, coalesce(max(sequence), 0) + 1, ?2, ?3, ?4 FROM events"
        " WHERE run_id = ?1 AND sequence < ?5",
        (run_id, now(), kind, message, OUTSIDERS),
    )
