"""What a worker writes of its run: every word numbered, fenced against a second worker, and spooled while it must be.

A word that is written twice is harmless: it replaces itself. A worker whose run was taken over by another one (it was
taken for dead, say) hears `TakenOver` at its next word and writes nothing any more.

While the database cannot be written (the disk is full, say), words wait in memory in their order and are written when
it can be again; beyond a limit the run has to end.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import sqlite3
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from peftbench.errors import StorageError
from peftbench.store.rows import (
    WORKING_STATES,
    Epoch,
    Failure,
    Phase,
    Prediction,
    Progress,
    SampleRow,
    Score,
    State,
    TaskBest,
    Usage,
    Worker,
    now,
)
from peftbench.store.transactions import OUTSIDERS, Transactions, move

SPOOL_BYTES = 16 * 2**20
TRY_AGAIN_S = 1.0
LAST_TRIES_S = 60.0
TOLD_AT_EVERY_START = ("data", "runtime", "memory", "prefix")  # kinds of events

_WAITED_FOR = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    }
)

Word = Callable[[sqlite3.Connection], object]


class TakenOver(BaseException):
    """Another worker has the run, or somebody ended or deleted it. No `except Exception` on the way may hide it."""


@dataclasses.dataclass(slots=True)
class _Waiting:
    """A word that could not be written yet."""

    word: Word
    durable: bool
    size: int


class RunLog(Transactions):
    """Writes one run, for the worker that claims it.

    Args:
        path: the database.
        run_id: the run's.
        session: of a claim made through another `RunLog`; else `claim` sets it.
    """

    def __init__(self, path: Path, run_id: str, session: int = 0) -> None:
        super().__init__(path)
        from sqlite_utils import Database

        self.run_id, self.session = run_id, session
        self._db = Database(self._connection)
        self._said = self._measured = self._samples_before = 0
        self._spool: deque[_Waiting] = deque()
        self._spooled_bytes = 0
        self._trouble_since: float | None = None
        self._trouble_told = False
        self._tried_at = 0.0

    def claim(self, worker: Worker) -> bool:
        """Take a starting run for this worker; False where another worker or an end came first.

        Raises:
            StorageError: the database cannot be written now.
        """
        try:
            return self._claim(worker)
        except sqlite3.OperationalError as error:
            raise StorageError(f"database {self.path}: cannot be written: {error}") from error

    def _claim(self, worker: Worker) -> bool:
        identity = {
            "worker_pid": worker.pid,
            "worker_started_at": worker.started_at,
            "worker_boot_id": worker.boot_id,
            "worker_host": worker.host,
        }
        with self._transaction(durable=True) as connection:
            row = connection.execute(
                "SELECT session, started_at, (SELECT max(sequence) FROM samples WHERE run_id = runs.id)"
                " FROM runs WHERE id = ?",
                (self.run_id,),
            ).fetchone()
            if row is None:
                return False
            moment = now()
            columns = {
                "session": row[0] + 1,
                "started_at": row[1] or moment,
                "heartbeat_at": moment,
                "stop_requested_at": None,
                **identity,
            }
            if not move(connection, self.run_id, "running", ("starting",), None, columns):
                return False
            self.session, self._samples_before = row[0] + 1, row[2] or 0
            return True

    def describe(self, **facts: Any) -> None:
        """Set facts of the run that are known once it is loaded (columns of `runs`; mappings become JSON)."""
        values = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in facts.items()}
        if values:
            self._write(lambda connection: self._describe(values), values)

    def add_conditions(self, conditions: Mapping[str, Any]) -> None:
        """Add to what the run was measured under."""
        self._write(lambda connection: self._add_conditions(connection, conditions), conditions)

    def put_ending(
        self, phase: Phase, samples: Sequence[SampleRow], conditions: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> None:
        """Store what is known only when the worker ends."""
        self.add_conditions(conditions)
        self.describe(**facts)
        self.put_phases([phase])
        self.put_samples(samples)

    def put_progress(self, progress: Progress) -> bool:
        """Say where the run stands, with a heartbeat; True where somebody asked it to stop.

        Progress is not spooled: the next one replaces it.
        """
        heard: list[bool] = []

        def word(connection: sqlite3.Connection) -> None:
            row = connection.execute("SELECT state, stop_requested_at FROM runs WHERE id = ?", (self.run_id,))
            state, asked_at = row.fetchone()
            heard.append(asked_at is not None)
            self._db["progress"].upsert({"run_id": self.run_id, **dataclasses.asdict(progress)}, pk="run_id")
            connection.execute("UPDATE runs SET heartbeat_at = ? WHERE id = ?", (progress.at, self.run_id))
            if state == "stalled":
                move(connection, self.run_id, "running", ("stalled",), "it goes on")

        self._write(word, None)
        return heard[0] if heard else self._asked_to_stop()

    def put_epoch(
        self,
        epoch: Epoch,
        scores: Sequence[Score],
        phases: Sequence[Phase],
        *,
        best_epoch: int | None,
        task_bests: Sequence[TaskBest],
        predictions: Sequence[Prediction],
    ) -> None:
        """Store a finished epoch whole, in place of what there was of it; keep predictions of the best epochs only.

        `predictions` are this epoch's; those of epochs that are no longer best are dropped. It is on the disk when
        this returns: a checkpoint may say that the epoch is done.
        """
        run = {"run_id": self.run_id}
        predicted = [{**run, "position": n, **dataclasses.asdict(row)} for n, row in enumerate(predictions)]
        measured = self._numbered(phases)

        def word(connection: sqlite3.Connection) -> None:
            for table in ("scores", "predictions", "phases", "epochs"):
                connection.execute(f"DELETE FROM {table} WHERE run_id = ? AND epoch = ?", (self.run_id, epoch.epoch))
            self._db["epochs"].insert({**run, **dataclasses.asdict(epoch)})
            self._db["scores"].insert_all({**run, **dataclasses.asdict(score)} for score in scores)
            self._db["phases"].insert_all(measured)
            self._db["task_bests"].upsert_all(
                ({**run, **dataclasses.asdict(best)} for best in task_bests), pk=("run_id", "task")
            )
            self._db["predictions"].insert_all(predicted)
            connection.execute(
                "DELETE FROM predictions WHERE run_id = ?1 AND epoch IS NOT ?2 AND epoch != coalesce("
                " (SELECT b.epoch FROM task_bests b WHERE b.run_id = ?1 AND b.task = predictions.task), -1)",
                (self.run_id, best_epoch),
            )
            connection.execute(
                "UPDATE runs SET epochs_done = ?2, heartbeat_at = ?3, best_epoch = ?4,"
                " dev_avg = (SELECT dev_avg FROM epochs WHERE run_id = ?1 AND epoch = ?4),"
                " leaderboard = (SELECT leaderboard FROM epochs WHERE run_id = ?1 AND epoch = ?4) WHERE id = ?1",
                (self.run_id, epoch.epoch, now(), best_epoch),
            )

        self._write(word, (epoch, scores, measured, task_bests, predicted), durable=True)

    def clear_epochs(self) -> None:
        """Take away what earlier workers told of epochs: this one begins with the first, perhaps on other data."""
        if self.session == 1:
            return

        def word(connection: sqlite3.Connection) -> None:
            for table in ("scores", "predictions", "epochs", "losses", "task_bests"):
                connection.execute(f"DELETE FROM {table} WHERE run_id = ?", (self.run_id,))
            connection.execute("DELETE FROM phases WHERE run_id = ? AND epoch IS NOT NULL", (self.run_id,))
            connection.execute(
                "UPDATE runs SET epochs_done = 0, best_epoch = NULL, dev_avg = NULL, leaderboard = NULL WHERE id = ?",
                (self.run_id,),
            )

        self._write(word, (), durable=True)

    def put_phases(self, phases: Sequence[Phase]) -> None:
        """Store measured phases outside an epoch (load, say)."""
        rows = self._numbered(phases)
        self._write(lambda connection: self._insert("phases", rows, ignore=True), rows)

    def put_samples(self, rows: Sequence[SampleRow]) -> None:
        """Store thinned samples, numbered from 1 within this session; one that is there already stays as it is."""
        numbered = [
            {"run_id": self.run_id, **dataclasses.asdict(row), "sequence": row.sequence + self._samples_before}
            for row in rows
        ]
        if numbered:
            self._write(lambda connection: self._insert("samples", numbered, ignore=True), numbered)

    def put_losses(self, epoch: int, task: str, points: Sequence[tuple[int, int, float]]) -> None:
        """Store mean training losses: (last step, steps averaged over, mean loss) each."""
        rows = [
            {"run_id": self.run_id, "step": step, "epoch": epoch, "task": task, "steps": steps, "loss": loss}
            for step, steps, loss in points
        ]
        if rows:
            self._write(lambda connection: self._insert("losses", rows, replace=True), rows, durable=True)

    def put_event(self, kind: str, message: str) -> None:
        """Store something worth telling later; of what every worker says as it starts, not what one before it said."""
        self._said += 1
        row = (self.run_id, self.session * OUTSIDERS + self._said, now(), kind, message)
        before = self.session * OUTSIDERS if kind in TOLD_AT_EVERY_START else 0
        self._write(
            lambda connection: connection.execute(
                "INSERT OR IGNORE INTO events SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS ("
                " SELECT 1 FROM events WHERE run_id = ?1 AND kind = ?4 AND message = ?5 AND sequence < ?6)",
                (*row, before),
            ),
            row,
        )

    def beat(self) -> bool:
        """Say that the worker lives, and hear whether others wait for a place; silent where it cannot be written."""
        try:
            with self._transaction() as connection:
                connection.execute(
                    "UPDATE runs SET heartbeat_at = ? WHERE id = ? AND session = ?", (now(), self.run_id, self.session)
                )
                return connection.execute("SELECT 1 FROM runs WHERE state = 'queued' LIMIT 1").fetchone() is not None
        except sqlite3.Error:
            return False

    def stall(self, reason: str) -> None:
        """Say that the worker lives but gets nowhere; its next progress takes that back."""
        try:
            with self._transaction() as connection:
                self._fence(connection)
                move(connection, self.run_id, "stalled", ("running",), reason)
        except (sqlite3.Error, TakenOver):
            return

    def finish(
        self, state: State, reason: str | None = None, exit_code: int = 0, failure: Failure | None = None
    ) -> None:
        """End the run, and with it everything that still waits to be written.

        Raises:
            StorageError: the database could not be written for a minute.
        """
        columns = {"exit_code": exit_code, "failure": failure}

        def word(connection: sqlite3.Connection) -> None:
            move(connection, self.run_id, state, WORKING_STATES, reason, columns)

        if self._spool:
            self._tell_trouble()  # after its end a run says nothing any more
        self._write(word, (reason,), durable=True, bounded=False)
        self._trouble_told = True
        until = time.monotonic() + LAST_TRIES_S
        while self._spool and time.monotonic() < until:
            time.sleep(TRY_AGAIN_S)
            self._empty_spool()
        if self._spool:
            raise StorageError(
                f"{self.path}: the end of run {self.run_id} could not be written for {LAST_TRIES_S:.0f} s",
                f"make room, then: peftbench resume {self.run_id}",
            )

    def _asked_to_stop(self) -> bool:
        """Look for a stop while nothing can be written."""
        try:
            row = self._connection.execute("SELECT stop_requested_at FROM runs WHERE id = ?", (self.run_id,)).fetchone()
        except sqlite3.Error:
            return False
        return row is not None and row[0] is not None

    def _write(self, word: Word, content: object, *, durable: bool = False, bounded: bool = True) -> None:
        """Write a word, after those that wait; where it cannot be written now it waits too (unless `content` is None).

        Raises:
            StorageError: more than SPOOL_BYTES would wait, and this one is not to be kept at any price.
            TakenOver: the run is not this worker's any more.
        """
        if self._spool and time.monotonic() - self._tried_at >= TRY_AGAIN_S:
            self._empty_spool()
        if not self._spool:
            try:
                self._write_now(word, durable)
            except sqlite3.OperationalError as error:
                self._must_be_waited_for(error)
                if content is None:
                    return
            else:
                self._trouble_since = None
                return
        elif content is None:
            return
        size = len(pickle.dumps(content))
        if bounded and self._spooled_bytes + size > SPOOL_BYTES:
            raise StorageError(
                f"{self.path} cannot be written, and {self._spooled_bytes / 2**20:.0f} MiB wait in memory",
                f"make room, then: peftbench resume {self.run_id}",
            )
        self._spool.append(_Waiting(word, durable, size))
        self._spooled_bytes += size

    def _write_now(self, word: Word, durable: bool) -> None:
        with self._transaction(durable) as connection:
            self._fence(connection)
            word(connection)

    def _fence(self, connection: sqlite3.Connection) -> None:
        """See that the run is still this worker's; one that was given up for lost while it lived is taken back."""
        row = connection.execute("SELECT state, session FROM runs WHERE id = ?", (self.run_id,)).fetchone()
        if row is None or row[1] != self.session:
            raise TakenOver(f"run {self.run_id} is not this worker's any more")
        if row[0] == "lost":
            columns = {"finished_at": None, "failure": None, "exit_code": None}
            move(connection, self.run_id, "running", ("lost",), "its worker is there after all", columns)
        elif row[0] not in WORKING_STATES:
            raise TakenOver(f"run {self.run_id} is {row[0]} already")

    def _must_be_waited_for(self, error: sqlite3.OperationalError) -> None:
        if (error.sqlite_errorcode & 0xFF) not in _WAITED_FOR:
            raise error
        self._tried_at = time.monotonic()
        if self._trouble_since is None:
            self._trouble_since = self._tried_at
            print(f"storage: {self.path} cannot be written ({error}); what happens waits in memory", file=sys.stderr)

    def _empty_spool(self) -> None:
        """Write what waits, as far as that is possible; last of all, or before the run's end, how long it waited."""
        while self._spool:
            waiting = self._spool[0]
            try:
                self._write_now(waiting.word, waiting.durable)
            except sqlite3.OperationalError as error:
                self._must_be_waited_for(error)
                return
            self._spooled_bytes -= self._spool.popleft().size
            if not self._spool and not self._trouble_told:
                self._tell_trouble()
        self._trouble_since, self._trouble_told = None, False
        print("storage: it is written again", file=sys.stderr)

    def _tell_trouble(self) -> None:
        """Let an event wait that says how long nothing could be written."""
        assert self._trouble_since is not None
        self._trouble_told = True
        self._said += 1
        waited = f"{time.monotonic() - self._trouble_since:.0f} s"
        message = f"the database could not be written for {waited}; what happened waited in memory"
        row = (self.run_id, self.session * OUTSIDERS + self._said, now(), "storage", message)
        sql = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?)"
        self._spool.append(_Waiting(lambda connection: connection.execute(sql, row), False, 0))

    def _describe(self, values: Mapping[str, Any]) -> None:
        self._db["runs"].update(self.run_id, dict(values))

    def _add_conditions(self, connection: sqlite3.Connection, conditions: Mapping[str, Any]) -> None:
        """Add to the run's conditions. (json_patch takes null for "remove".)"""
        row = connection.execute("SELECT conditions FROM runs WHERE id = ?", (self.run_id,)).fetchone()
        merged = json.dumps(json.loads(row[0]) | dict(conditions))
        connection.execute("UPDATE runs SET conditions = ? WHERE id = ?", (merged, self.run_id))

    def _insert(self, table: str, rows: Sequence[dict[str, Any]], **how: bool) -> None:
        self._db[table].insert_all(rows, **how)

    def _numbered(self, phases: Sequence[Phase]) -> list[dict[str, Any]]:
        rows = []
        for phase in phases:
            self._measured += 1
            rows.append({"run_id": self.run_id, **_flat(phase), "session": self.session, "sequence": self._measured})
        return rows


def _flat(phase: Phase) -> dict[str, Any]:
    """Return a phase with its usage as columns of one row."""
    row = dataclasses.asdict(phase)
    usage = row.pop("usage") or {f.name: None for f in dataclasses.fields(Usage)}
    return {**row, **usage, "missing": json.dumps(usage["missing"] or {})}
