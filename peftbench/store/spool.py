"""Writes that must not be lost: kept in memory, in order, while the database cannot be written (a full disk, say).

Each write is fenced: it happens only while the run still belongs to this worker. Writing the same rows twice is
harmless, because they replace themselves. Beyond a limit of memory the run has to end.
"""

from __future__ import annotations

import dataclasses
import pickle
import sqlite3
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from peftbench.errors import StorageError
from peftbench.store.rows import WORKING_STATES, now
from peftbench.store.transactions import OUTSIDERS, Transactions, move, what_helps

SPOOL_BYTES = 16 * 2**20
TRY_AGAIN_S = 1.0
LAST_TRIES_S = 60.0

_TEMPORARY = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    }
)

Write = Callable[[sqlite3.Connection], object]


class TakenOver(BaseException):
    """Another worker has the run, or somebody ended or deleted it. No `except Exception` on the way may hide it."""


@dataclasses.dataclass(slots=True)
class _Waiting:
    """A write that could not be done yet."""

    write: Write
    durable: bool
    size: int


class SpooledWriter(Transactions):
    """Writes of one worker about one run, kept in memory while the database cannot be written.

    Args:
        path: the database.
        run_id: the run's.
        attempt: which of the run's workers this is; 0 until it has claimed the run.
    """

    def __init__(self, path: Path, run_id: str, attempt: int) -> None:
        super().__init__(path)
        self.run_id, self.attempt = run_id, attempt
        self._events = 0  # written by this worker
        self._spool: deque[_Waiting] = deque()
        self._spooled_bytes = 0
        self._failing_since: float | None = None
        self._error: sqlite3.OperationalError | None = None  # the last one
        self._failure_noted = False
        self._tried_at = 0.0

    def event_row(self, kind: str, message: str) -> tuple[str, int, str, str, str]:
        """Return the next event of this worker as a row of `events`."""
        self._events += 1
        return (self.run_id, self.attempt * OUTSIDERS + self._events, now(), kind, message)

    def write(self, write: Write, content: object, *, durable: bool = False, bounded: bool = True) -> None:
        """Write, after what waits; where that is impossible now, wait as well (unless `content` is None).

        Args:
            write: does it, in a transaction.
            content: what it holds in memory, whose size counts against the limit; None: drop it rather than wait.
            durable: it is on the disk when this returns.
            bounded: the limit holds for it.

        Raises:
            StorageError: more than SPOOL_BYTES would wait.
            TakenOver: the run is not this worker's any more.
        """
        if self._spool and time.monotonic() - self._tried_at >= TRY_AGAIN_S:
            self._empty_spool()
        if not self._spool:
            try:
                self._write_now(write, durable)
            except sqlite3.OperationalError as error:
                self._check_temporary(error)
                if content is None:
                    return
            else:
                self._failing_since = None
                return
        elif content is None:
            return
        size = len(pickle.dumps(content))
        if bounded and self._spooled_bytes + size > SPOOL_BYTES:
            raise StorageError(
                f"{self.path} cannot be written, and {self._spooled_bytes / 2**20:.0f} MiB wait in memory",
                f"{what_helps(self._error)}, then: peftbench resume {self.run_id}",
            )
        self._spool.append(_Waiting(write, durable, size))
        self._spooled_bytes += size

    def write_last(self, write: Write, content: object) -> None:
        """Write what ends the run, and with it everything that still waits.

        Raises:
            StorageError: the database could not be written for a minute.
            TakenOver: the run is not this worker's any more.
        """
        if self._spool:
            self._note_failure()  # an event after the run's end would be of no run
        self.write(write, content, durable=True, bounded=False)
        self._failure_noted = True
        until = time.monotonic() + LAST_TRIES_S
        while self._spool and time.monotonic() < until:
            time.sleep(TRY_AGAIN_S)
            self._empty_spool()
        if self._spool:
            raise StorageError(
                f"{self.path}: the end of run {self.run_id} could not be written for {LAST_TRIES_S:.0f} s",
                f"{what_helps(self._error)}, then: peftbench resume {self.run_id}",
            )

    def _write_now(self, write: Write, durable: bool) -> None:
        with self._transaction(durable) as connection:
            self.fence(connection)
            write(connection)

    def fence(self, connection: sqlite3.Connection) -> None:
        """Check that the run is still this worker's; one that was marked lost while it was alive is taken back.

        Raises:
            TakenOver: it is another worker's, or has ended.
        """
        row = connection.execute("SELECT state, attempt FROM runs WHERE id = ?", (self.run_id,)).fetchone()
        if row is None or row[1] != self.attempt:
            raise TakenOver(f"run {self.run_id} is not this worker's any more")
        if row[0] == "lost":
            columns = {"finished_at": None, "failure": None, "exit_code": None}
            move(connection, self.run_id, "running", ("lost",), "its worker is there after all", columns)
        elif row[0] not in WORKING_STATES:
            raise TakenOver(f"run {self.run_id} is {row[0]} already")

    def _check_temporary(self, error: sqlite3.OperationalError) -> None:
        """Raise an error that does not pass by waiting; remember one that may."""
        if (error.sqlite_errorcode & 0xFF) not in _TEMPORARY:
            raise error
        self._tried_at, self._error = time.monotonic(), error
        if self._failing_since is None:
            self._failing_since = self._tried_at
            print(f"storage: {self.path} cannot be written ({error}); what happens waits in memory", file=sys.stderr)

    def _empty_spool(self) -> None:
        """Write what waits, as far as that is possible, and then an event that says how long it waited."""
        while self._spool:
            waiting = self._spool[0]
            try:
                self._write_now(waiting.write, waiting.durable)
            except sqlite3.OperationalError as error:
                self._check_temporary(error)
                return
            self._spooled_bytes -= self._spool.popleft().size
            if not self._spool and not self._failure_noted:
                self._note_failure()
        self._failing_since, self._failure_noted = None, False
        print("storage: it is written again", file=sys.stderr)

    def _note_failure(self) -> None:
        """Add an event to the spool that says how long nothing could be written."""
        assert self._failing_since is not None
        self._failure_noted = True
        waited = f"{time.monotonic() - self._failing_since:.0f} s"
        message = f"the database could not be written for {waited}; what happened waited in memory"
        row = self.event_row("storage", message)
        sql = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?)"
        self._spool.append(_Waiting(lambda connection: connection.execute(sql, row), False, 0))
