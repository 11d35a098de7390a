"""Reading the store with the standard library's sqlite3 only, as used by all listings and screens."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

from peftbench.errors import DataError, MissingError
from peftbench.store import prediction_sets
from peftbench.store.connection import FrozenConnection, open_for_reading
from peftbench.store.listing import Listed, Listing
from peftbench.store.rows import (
    ACTIVE_STATES,
    WORKING_STATES,
    Epoch,
    Event,
    InterimScore,
    Phase,
    Prediction,
    Progress,
    QueueSettings,
    Run,
    RunRecord,
    SampleRow,
    Score,
    ScoredSplit,
    TaskBest,
    TrainPoint,
    Usage,
)
from peftbench.text import clean

JUDGED_BY = 20  # finished runs whose median a forecast takes


class Reader(Listing):
    """Reads runs; holds no transaction open between calls. A missing database reads as an empty one.

    `empty`: it was missing or empty when opened; a database created later needs a new reader.
    `frozen`: the file cannot be written from here; changes by others are visible to new readers only.

    Raises:
        MissingError: the file exists but cannot be read as a database of peftbench.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = open_for_reading(path) or sqlite3.connect(":memory:")
        self.frozen = isinstance(self._connection, FrozenConnection)
        self.empty = not self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        self._connection.row_factory = sqlite3.Row

    @classmethod
    def over(cls, connection: sqlite3.Connection, path: Path) -> Self:
        """Return a reader on another connection, within its transaction; it must not be closed.

        Args:
            connection: to an existing database, with rows of type sqlite3.Row.
            path: path of the database, for messages.
        """
        reader = cls.__new__(cls)
        reader.path, reader._connection, reader.empty, reader.frozen = path, connection, False, False
        return reader

    def record(self, run: Run, predictions: bool = False) -> RunRecord:
        """Return everything stored for a run; the best epoch's predictions only on request.

        Raises:
            DataError: some of it is invalid.
        """
        try:
            return self._record(run, predictions)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"run {clean(run.name)} ({run.id}): its stored rows cannot be read: {clean(error, 200)}",
                "were they edited? peftbench doctor checks the file",
            ) from error

    def _record(self, run: Run, predictions: bool) -> RunRecord:
        return RunRecord(
            run,
            tuple(
                Epoch(**row)
                for row in self._dicts(
                    "SELECT epoch, dev_avg, leaderboard, reason, finished_at FROM epochs WHERE run_id = ?"
                    " ORDER BY epoch",
                    run.id,
                )
            ),
            tuple(
                Score(**row)
                for row in self._dicts(
                    "SELECT epoch, task, split, metric, value, reason, loss, examples FROM scores"
                    " WHERE run_id = ? ORDER BY epoch, rowid",
                    run.id,
                )
            ),
            tuple(_phase(row) for row in self._dicts("SELECT * FROM phases WHERE run_id = ? ORDER BY id", run.id)),
            tuple(
                TaskBest(**row)
                for row in self._dicts("SELECT task, epoch, value FROM task_bests WHERE run_id = ?", run.id)
            ),
            tuple(
                Event(**row)
                for row in self._dicts(
                    "SELECT sequence, at, kind, message FROM events WHERE run_id = ? ORDER BY rowid",
                    run.id,
                )
            ),
            self._predictions(run, "dev") if predictions else {},
            self._predictions(run, "test") if predictions else {},
            tuple(
                InterimScore(**row)
                for row in self._dicts(
                    "SELECT step, epoch, task, metric, value, reason, loss, examples FROM interim_scores"
                    " WHERE run_id = ? ORDER BY step, rowid",
                    run.id,
                )
            ),
        )

    def active(self) -> list[Run]:
        """Return the readable runs that have not ended: those with a worker first, then the queue in order."""
        return [run for run in self.active_listed() if isinstance(run, Run)]

    def active_listed(self) -> list[Listed]:
        """Return the runs that have not ended, in the order of `active`, readable or not."""
        marks = ", ".join("?" * len(ACTIVE_STATES))
        sql = f"SELECT rowid FROM runs WHERE state IN ({marks}) ORDER BY state = 'queued', queue_position, rowid"
        return list(self._of(self._ids(sql, *ACTIVE_STATES)))

    def working(self) -> list[Run]:
        """Return the readable runs that have a worker or are about to get one."""
        marks = ", ".join("?" * len(_PLACED))
        rows = self._ids(f"SELECT rowid FROM runs WHERE state IN ({marks})", *_PLACED)
        return [run for run in self._of(rows) if isinstance(run, Run)]

    def first_queued(self) -> Run | None:
        """Return the first readable run of the queue."""
        rows = self._ids("SELECT rowid FROM runs WHERE state = 'queued' ORDER BY queue_position, rowid LIMIT 1")
        first = next(self._of(rows), None)
        if first is None or isinstance(first, Run):
            return first
        rows = self._ids("SELECT rowid FROM runs WHERE state = 'queued' ORDER BY queue_position, rowid")
        return next((run for run in self._of(rows) if isinstance(run, Run)), None)

    def judging(self, wanted: Collection[tuple[str, str, str]], host: str | None = None) -> list[Run]:
        """Return finished runs from which `analysis.forecast` can predict others, newest first.

        Args:
            wanted: (group hash, workload, method) of each run to predict.
            host: also return as many runs of this host, where given.

        For each spec, each method on a workload and each workload these are the newest `JUDGED_BY`.
        """
        rows: dict[int, None] = {}
        for key in dict.fromkeys(wanted):
            for condition, values in zip(_JUDGES, (key[:1], key[1:], key[1:2]), strict=True):
                sql = f"SELECT rowid FROM runs WHERE state = 'finished' AND {condition}"
                for of_host, more in (("", ()), *([(" AND worker_host = ?", (host,))] if host else [])):
                    end = " ORDER BY created_at DESC LIMIT ?"
                    rows.update(dict.fromkeys(self._ids(f"{sql}{of_host}{end}", *values, *more, JUDGED_BY)))
        return [run for run in self._of(self._newest_first(rows)) if isinstance(run, Run)]

    def workloads_finished(self) -> list[str]:
        """Return the workloads of finished runs: that of the newest run first, then by name."""
        newest = self._rows("SELECT workload FROM runs WHERE state = 'finished' ORDER BY created_at DESC LIMIT 1")
        names = [row[0] for row in self._rows("SELECT DISTINCT workload FROM runs WHERE state = 'finished' ORDER BY 1")]
        return list(dict.fromkeys([*(row[0] for row in newest), *names]))

    def queue_settings(self, host: str) -> QueueSettings:
        """Return the settings of a host's queue.

        Raises:
            MissingError: a stored setting is not a number.
        """
        settings = {row[0]: row[1] for row in self._rows("SELECT name, value FROM queue_settings WHERE host = ?", host)}
        try:
            slots, cooldown = settings.get("slots"), settings.get("cooldown_s")
            return QueueSettings(None if slots is None else int(slots), None if cooldown is None else float(cooldown))
        except ValueError as error:
            raise MissingError(
                f"database {self.path}: a setting of the queue cannot be read: {clean(error, 200)}",
                "set it again: peftbench queue --slots N --cooldown S",
            ) from error

    def progress(self, run_id: str) -> Progress | None:
        """Return the progress of a running run; None before its first report and after its end."""
        for row in self._dicts(
            "SELECT epoch, phase, task, step, steps, done, total, its, at FROM progress WHERE run_id = ?",
            run_id,
        ):
            return Progress(**row)
        return None

    def all_progress(self) -> dict[str, Progress]:
        """Return the progress of every running run, by its id."""
        sql = "SELECT run_id, epoch, phase, task, step, steps, done, total, its, at FROM progress"
        rows = self._dicts(sql)
        return {row.pop("run_id"): Progress(**row) for row in rows}

    def version(self) -> int:
        """Return a number that differs once anything in the database has changed; very cheap."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def changed(self, after: int) -> tuple[int, list[str]]:
        """Return the next value of `after`, and the ids of runs whose row was inserted, updated or deleted since.

        With 0, all runs are returned. Each run occurs once; progress and samples are not tracked.
        """
        rows = self._rows("SELECT number, run_id FROM run_changes WHERE number > ? ORDER BY number", after)
        return (rows[-1][0] if rows else after), [row[1] for row in rows]

    def last_change(self) -> int:
        """Return the number of the latest change."""
        rows = self._rows("SELECT max(number) FROM run_changes")
        return int(rows[0][0] or 0) if rows else 0

    def samples(self, run_id: str, after: int = 0, last: int | None = None) -> list[SampleRow]:
        """Return a run's thinned samples after a sequence number, at most the `last` ones."""
        sql = f"SELECT {_SAMPLE_COLUMNS} FROM samples WHERE run_id = ? AND sequence > ? ORDER BY sequence DESC LIMIT ?"
        rows = self._dicts(sql, run_id, after, -1 if last is None else last)
        return [SampleRow(**row) for row in reversed(rows)]

    def sample_summary(self, run_id: str, most: int) -> list[SampleRow]:
        """Return all samples of a run aggregated into at most `most` rows of equally many samples.

        Each column is the maximum, except sequence and time, which are those of the row's last sample.
        """
        sql = "SELECT min(sequence), max(sequence) FROM samples WHERE run_id = ?"
        low, high = next(iter(self._rows(sql, run_id)), (None, None))
        if low is None:
            return []
        size = max(1, -(-(high - low + 1) // most))
        columns = ", ".join(f"max({field.name}) AS {field.name}" for field in fields(SampleRow))
        sql = f"SELECT {columns} FROM samples WHERE run_id = ? GROUP BY (sequence - ?) / ? ORDER BY sequence"
        return [SampleRow(**row) for row in self._dicts(sql, run_id, low, size)]

    def train_points(self, run_id: str, after: int = 0) -> list[TrainPoint]:
        """Return the points of a run's training curve after a step, in the order of steps."""
        rows = self._dicts(
            "SELECT step, epoch, task, steps, loss, metric, lr, grad_norm, wall_s FROM losses"
            " WHERE run_id = ? AND step > ? ORDER BY step",
            *(run_id, after),
        )
        return [TrainPoint(**row) for row in rows]

    def count_train_points(self, run_id: str, until: int) -> int:
        """Return how many points a run's training curve has up to a step: fewer where they were joined since."""
        sql = "SELECT count(*) FROM losses WHERE run_id = ? AND step <= ?"
        return int(self._connection.execute(sql, (run_id, until)).fetchone()[0])

    def _predictions(self, run: Run, split: ScoredSplit) -> dict[str, tuple[Prediction, ...]]:
        by_task: dict[str, list[Prediction]] = {}
        for row in prediction_sets.read(self._connection, run.id, run.best_epoch, split):
            by_task.setdefault(row.task, []).append(row)
        return {task: tuple(rows) for task, rows in by_task.items()}

    def _dicts(self, sql: str, *values: object) -> list[dict[str, Any]]:
        return [dict(row) for row in self._rows(sql, *values)]


_PLACED = sorted({"starting", *WORKING_STATES})
_USAGE_COLUMNS = tuple(field.name for field in fields(Usage))
_SAMPLE_COLUMNS = ", ".join(field.name for field in fields(SampleRow))
_JUDGES = ("group_hash = ?", "workload = ? AND method = ?", "workload = ?")
_NOT_IN_PHASE = ("id", "run_id", "sequence")


def _phase(row: dict[str, Any]) -> Phase:
    usage = {name: row.pop(name) for name in _USAGE_COLUMNS}
    usage["missing"] = json.loads(usage["missing"])
    measured = usage["window_s"] is not None
    values = {key: value for key, value in row.items() if key not in _NOT_IN_PHASE}
    return Phase(**values, usage=Usage(**usage) if measured else None)
