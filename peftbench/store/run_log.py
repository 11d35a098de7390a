"""What a worker writes about its run. Rows are numbered, so that writing one twice changes nothing.

A worker whose run was taken over by another one (because it was taken for dead, say) gets `TakenOver` at its next write
and writes nothing any more. `spool` keeps writes while the database cannot take them.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from peftbench.errors import StorageError
from peftbench.store import prediction_sets
from peftbench.store.conditions import Conditions, RunFacts
from peftbench.store.rows import (
    WORKING_STATES,
    EpochResult,
    Failure,
    HeldOutResult,
    InterimScore,
    Phase,
    Progress,
    SampleRow,
    State,
    TrainPoint,
    Usage,
    Worker,
    now,
)
from peftbench.store.spool import SpooledWriter, TakenOver
from peftbench.store.transactions import OUTSIDERS, move

__all__ = ["RunLog", "TakenOver"]

NOTED_AT_EVERY_START = ("data", "runtime", "memory", "frozen_features")  # kinds of events


class RunLog(SpooledWriter):
    """Writes one run, for the worker that claims it.

    Args:
        path: the database.
        run_id: the run's.
        attempt: of a claim made through another `RunLog`; else `claim` sets it.
    """

    def __init__(self, path: Path, run_id: str, attempt: int = 0) -> None:
        super().__init__(path, run_id, attempt)
        from sqlite_utils import Database

        self._db = Database(self._connection)
        self._phases = self._samples_before = 0

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
                "SELECT attempt, started_at, (SELECT max(sequence) FROM samples WHERE run_id = runs.id)"
                " FROM runs WHERE id = ?",
                (self.run_id,),
            ).fetchone()
            if row is None:
                return False
            moment = now()
            columns = {
                "attempt": row[0] + 1,
                "started_at": row[1] or moment,
                "heartbeat_at": moment,
                "stop_requested_at": None,
                **identity,
            }
            if not move(connection, self.run_id, "running", ("starting",), None, columns):
                return False
            self.attempt, self._samples_before = row[0] + 1, row[2] or 0
            return True

    def describe(self, **facts: Unpack[RunFacts]) -> None:
        """Set facts of the run that are known once it is loaded (columns of `runs`; mappings become JSON)."""
        values = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in facts.items()}
        if values:
            self.write(lambda connection: self._describe(values), values)

    def add_conditions(self, conditions: Conditions) -> None:
        """Add to the conditions under which the run is measured."""
        self.write(lambda connection: self._add_conditions(connection, conditions), conditions)

    def put_ending(self, phase: Phase, samples: Sequence[SampleRow], conditions: Conditions, facts: RunFacts) -> None:
        """Store what is known only when the worker ends: its one phase over the whole run, last samples, facts."""
        self.add_conditions(conditions)
        self.describe(**facts)
        self.put_phases([phase])
        self.put_samples(samples)

    def put_progress(self, progress: Progress) -> bool:
        """Store the progress, with a heartbeat; return whether somebody asked the run to stop.

        Progress is not spooled: the next one replaces it.
        """
        stop_requested: list[bool] = []

        def write(connection: sqlite3.Connection) -> None:
            row = connection.execute("SELECT state, stop_requested_at FROM runs WHERE id = ?", (self.run_id,))
            state, requested_at = row.fetchone()
            stop_requested.append(requested_at is not None)
            self._db["progress"].upsert({"run_id": self.run_id, **dataclasses.asdict(progress)}, pk="run_id")
            connection.execute("UPDATE runs SET heartbeat_at = ? WHERE id = ?", (progress.at, self.run_id))
            if state == "stalled":
                move(connection, self.run_id, "running", ("stalled",), "it goes on")

        self.write(write, None)
        return stop_requested[0] if stop_requested else self.stop_requested()

    def put_epoch(self, result: EpochResult) -> None:
        """Store a finished epoch, in place of what was stored of it; keep predictions of the best epochs only.

        It is on the disk when this returns: a checkpoint may then say that the epoch is done.
        """
        run, epoch = {"run_id": self.run_id}, result.epoch
        phases = self._numbered(result.phases)

        def write(connection: sqlite3.Connection) -> None:
            for table in ("scores", "prediction_sets", "phases", "epochs"):
                connection.execute(f"DELETE FROM {table} WHERE run_id = ? AND epoch = ?", (self.run_id, epoch.epoch))
            self._db["epochs"].insert({**run, **dataclasses.asdict(epoch)})
            self._db["scores"].insert_all({**run, **dataclasses.asdict(score)} for score in result.scores)
            self._db["phases"].insert_all(phases)
            self._db["task_bests"].upsert_all(
                ({**run, **dataclasses.asdict(best)} for best in result.task_bests), pk=("run_id", "task")
            )
            prediction_sets.put(connection, self.run_id, result.predictions)
            connection.execute(
                "DELETE FROM prediction_sets WHERE run_id = ?1 AND epoch IS NOT ?2 AND epoch != coalesce("
                " (SELECT b.epoch FROM task_bests b WHERE b.run_id = ?1 AND b.task = prediction_sets.task), -1)",
                (self.run_id, result.best_epoch),
            )
            connection.execute(
                "UPDATE runs SET epochs_done = ?2, heartbeat_at = ?3, best_epoch = ?4,"
                " dev_avg = (SELECT dev_avg FROM epochs WHERE run_id = ?1 AND epoch = ?4),"
                " leaderboard = (SELECT leaderboard FROM epochs WHERE run_id = ?1 AND epoch = ?4) WHERE id = ?1",
                (self.run_id, epoch.epoch, now(), result.best_epoch),
            )

        self.write(write, (result, phases), durable=True)

    def put_held_out(self, result: HeldOutResult) -> None:
        """Store the scores on the test split, in place of what was stored of them."""
        run = {"run_id": self.run_id}
        phases = self._numbered(result.phases)

        def write(connection: sqlite3.Connection) -> None:
            for table in ("scores", "prediction_sets"):
                connection.execute(f"DELETE FROM {table} WHERE run_id = ? AND split = 'test'", (self.run_id,))
            self._db["scores"].insert_all({**run, **dataclasses.asdict(score)} for score in result.scores)
            first = connection.execute(  # positions order the predictions of an epoch: those of dev come first
                "SELECT coalesce(max(first_position + json_array_length(predictions)), 0) FROM prediction_sets"
                " WHERE run_id = ? AND epoch = ?",
                (self.run_id, result.epoch),
            ).fetchone()[0]
            prediction_sets.put(connection, self.run_id, result.predictions, first)
            self._insert("phases", phases, ignore=True)

        self.write(write, (result, phases), durable=True)

    def clear_epochs(self) -> None:
        """Delete the epochs that earlier workers stored: this one starts with the first, perhaps on other data."""
        if self.attempt == 1:
            return

        def write(connection: sqlite3.Connection) -> None:
            for table in ("scores", "prediction_sets", "epochs", "losses", "interim_scores", "task_bests"):
                connection.execute(f"DELETE FROM {table} WHERE run_id = ?", (self.run_id,))
            connection.execute("DELETE FROM phases WHERE run_id = ? AND epoch IS NOT NULL", (self.run_id,))
            connection.execute(
                "UPDATE runs SET epochs_done = 0, best_epoch = NULL, dev_avg = NULL, leaderboard = NULL WHERE id = ?",
                (self.run_id,),
            )

        self.write(write, (), durable=True)

    def put_phases(self, phases: Sequence[Phase]) -> None:
        """Store measured phases outside an epoch (load, say)."""
        rows = self._numbered(phases)
        self.write(lambda connection: self._insert("phases", rows, ignore=True), rows)

    def put_samples(self, rows: Sequence[SampleRow]) -> None:
        """Store thinned samples, numbered from 1 for each worker; one that is stored already stays as it is."""
        numbered = [
            {"run_id": self.run_id, **dataclasses.asdict(row), "sequence": row.sequence + self._samples_before}
            for row in rows
        ]
        if numbered:
            self.write(lambda connection: self._insert("samples", numbered, ignore=True), numbered)

    def put_train_points(self, points: Sequence[TrainPoint], *, in_place_of_all: bool = False) -> None:
        """Store points of the training curve, in the place of earlier ones of the same steps, or of all."""
        rows = [{"run_id": self.run_id, **dataclasses.asdict(point)} for point in points]

        def write(connection: sqlite3.Connection) -> None:
            if in_place_of_all:
                connection.execute("DELETE FROM losses WHERE run_id = ?", (self.run_id,))
            self._insert("losses", rows, replace=True)

        if rows:
            self.write(write, (in_place_of_all, rows))

    def put_interim_scores(self, scores: Sequence[InterimScore]) -> None:
        """Store scores within an epoch, in the place of earlier ones of the same step."""
        rows = [{"run_id": self.run_id, **dataclasses.asdict(score)} for score in scores]
        if rows:
            self.write(lambda connection: self._insert("interim_scores", rows, replace=True), rows)

    def put_event(self, kind: str, message: str) -> None:
        """Store an event; one of NOTED_AT_EVERY_START only where no earlier worker of the run has stored the same."""
        row = self.event_row(kind, message)
        before = self.attempt * OUTSIDERS if kind in NOTED_AT_EVERY_START else 0
        self.write(
            lambda connection: connection.execute(
                "INSERT OR IGNORE INTO events SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS ("
                " SELECT 1 FROM events WHERE run_id = ?1 AND kind = ?4 AND message = ?5 AND sequence < ?6)",
                (*row, before),
            ),
            row,
        )

    def beat(self) -> bool:
        """Write a heartbeat and return whether other runs are queued; False where it cannot be written."""
        try:
            with self._transaction() as connection:
                connection.execute(
                    "UPDATE runs SET heartbeat_at = ? WHERE id = ? AND attempt = ?", (now(), self.run_id, self.attempt)
                )
                return connection.execute("SELECT 1 FROM runs WHERE state = 'queued' LIMIT 1").fetchone() is not None
        except sqlite3.Error:
            return False

    def stall(self, reason: str) -> None:
        """Mark the run stalled: its worker lives but makes no progress. Its next progress takes that back."""
        try:
            with self._transaction() as connection:
                self.fence(connection)
                move(connection, self.run_id, "stalled", ("running",), reason)
        except (sqlite3.Error, TakenOver):
            return

    def finish(
        self, state: State, reason: str | None = None, exit_code: int = 0, failure: Failure | None = None
    ) -> None:
        """End the run, after everything that still waits to be written.

        Raises:
            StorageError: the database could not be written for a minute.
        """
        columns = {"exit_code": exit_code, "failure": failure}

        def write(connection: sqlite3.Connection) -> None:
            move(connection, self.run_id, state, WORKING_STATES, reason, columns)

        self.write_last(write, (reason,))

    def stop_requested(self) -> bool:
        """Return whether a stop was requested, as stored; False where it cannot be read."""
        try:
            row = self._connection.execute("SELECT stop_requested_at FROM runs WHERE id = ?", (self.run_id,)).fetchone()
        except sqlite3.Error:
            return False
        return row is not None and row[0] is not None

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
            self._phases += 1
            rows.append({"run_id": self.run_id, **_flat(phase), "attempt": self.attempt, "sequence": self._phases})
        return rows


def _flat(phase: Phase) -> dict[str, Any]:
    """Return a phase with its usage as columns of one row."""
    row = dataclasses.asdict(phase)
    usage = row.pop("usage") or {f.name: None for f in dataclasses.fields(Usage)}
    return {**row, **usage, "missing": json.dumps(usage["missing"] or {})}
