"""Reading the store, on the standard library's sqlite3 alone: the path every listing and screen takes."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from peftbench.errors import MissingError, UsageError, did_you_mean
from peftbench.store.connection import open_for_reading
from peftbench.store.rows import (
    ACTIVE_STATES,
    WORKING_STATES,
    Epoch,
    Event,
    MeterSettings,
    Phase,
    Prediction,
    Progress,
    QueueSettings,
    Run,
    RunRecord,
    RunSettings,
    SampleRow,
    Score,
    TaskBest,
    Usage,
    Worker,
)
from peftbench.text import clean


class Reader:
    """Reads runs; holds no transaction open between calls. An absent database reads as an empty one.

    `empty`: there was none, or nothing in it, when it was opened; what comes to be later needs another reader.

    Raises:
        MissingError: the file is there but cannot be read as ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = open_for_reading(path) or sqlite3.connect(":memory:")
        self.empty = not self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        self._connection.row_factory = sqlite3.Row

    @classmethod
    def over(cls, connection: sqlite3.Connection, path: Path) -> Self:
        """Return a reader that sees what another connection sees, in its transaction; it is not to be closed.

        Args:
            connection: to a database that is there, whose rows know their columns.
            path: the database's, for messages.
        """
        reader = cls.__new__(cls)
        reader.path, reader._connection, reader.empty = path, connection, False
        return reader

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def runs(self) -> list[Run]:
        """Return every run, the newest first."""
        return [_run(row) for row in self._rows("SELECT * FROM runs ORDER BY created_at DESC, rowid DESC")]

    def run(self, run_id: str) -> Run:
        """Return the run with exactly this id.

        Raises:
            MissingError: there is none (it was deleted, say).
        """
        found = self.get(run_id)
        if found is None:
            raise MissingError(f"there is no run {clean(run_id)} in {self.path}")
        return found

    def get(self, run_id: str) -> Run | None:
        """Return the run with exactly this id; None where there is none."""
        return next((_run(row) for row in self._rows("SELECT * FROM runs WHERE id = ?", run_id)), None)

    def find(self, reference: str) -> Run:
        """Return the run that a person means: an id, a name, a unique prefix of either, or `latest`.

        Raises:
            MissingError: no run, or none that fits.
            UsageError: several fit.
        """
        runs = self.runs()
        if not runs:
            raise MissingError(f"there are no runs yet in {self.path}", "start one: peftbench run --preset lora-r12")
        if reference == "latest":
            return runs[0]
        for run in runs:
            if reference in (run.id, run.name):
                return run
        fitting = [
            run for run in runs if reference and (run.id.startswith(reference) or run.name.startswith(reference))
        ]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            listed = ", ".join(f"{run.name} ({run.id})" for run in fitting[:8])
            raise UsageError(
                f"'{clean(reference)}' fits {len(fitting)} runs: {listed}{', …' if len(fitting) > 8 else ''}"
            )
        raise MissingError(
            f"no run has the id or name '{clean(reference)}'{did_you_mean(reference, [run.name for run in runs])}",
            "peftbench runs lists them",
        )

    def record(self, run: Run, predictions: bool = False) -> RunRecord:
        """Return all that is stored of a run; the best epoch's dev predictions only where asked for."""
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
            self._predictions(run) if predictions else {},
        )

    def active(self) -> list[Run]:
        """Return the runs that have not ended: those with a worker first, then the queue in its order."""
        marks = ", ".join("?" * len(ACTIVE_STATES))
        sql = f"SELECT * FROM runs WHERE state IN ({marks}) ORDER BY state = 'queued', place, rowid"
        return [_run(row) for row in self._rows(sql, *ACTIVE_STATES)]

    def working(self) -> list[Run]:
        """Return the runs that have a worker, or are to have one at any moment."""
        marks = ", ".join("?" * len(_PLACED))
        return [_run(row) for row in self._rows(f"SELECT * FROM runs WHERE state IN ({marks})", *_PLACED)]

    def first_queued(self) -> Run | None:
        """Return the run whose turn is next."""
        sql = "SELECT * FROM runs WHERE state = 'queued' ORDER BY place, rowid LIMIT 1"
        return next((_run(row) for row in self._rows(sql)), None)

    def queue_settings(self, host: str) -> QueueSettings:
        """Return how a host's queue is to work.

        Raises:
            MissingError: what is stored of it is no number.
        """
        said = {row[0]: row[1] for row in self._rows("SELECT name, value FROM queue_settings WHERE host = ?", host)}
        try:
            slots, cooldown = said.get("slots"), said.get("cooldown_s")
            return QueueSettings(None if slots is None else int(slots), None if cooldown is None else float(cooldown))
        except ValueError as error:
            raise MissingError(
                f"database {self.path}: a setting of the queue cannot be read: {clean(error, 200)}",
                "say it again: peftbench queue --slots N --cooldown S",
            ) from error

    def progress(self, run_id: str) -> Progress | None:
        """Return where a running run stands; None before its first word and after its end."""
        for row in self._dicts(
            "SELECT epoch, phase, task, step, steps, done, total, its, at FROM progress WHERE run_id = ?",
            run_id,
        ):
            return Progress(**row)
        return None

    def marks(self) -> dict[str, tuple[object, ...]]:
        """Return every run's id, the newest first, with what is another as soon as anything of its row is."""
        sql = f"SELECT id, {', '.join(_MARK)} FROM runs ORDER BY created_at DESC, rowid DESC"
        return {row[0]: tuple(row)[1:] for row in self._rows(sql)}

    def samples(self, run_id: str, after: int = 0, last: int | None = None) -> list[SampleRow]:
        """Return a run's thinned samples, those after a sequence number; of them only so many of the last."""
        sql = f"SELECT {_SAMPLE_COLUMNS} FROM samples WHERE run_id = ? AND sequence > ? ORDER BY sequence DESC LIMIT ?"
        rows = self._dicts(sql, run_id, after, -1 if last is None else last)
        return [SampleRow(**row) for row in reversed(rows)]

    def sample_summary(self, run_id: str, most: int) -> list[SampleRow]:
        """Return all of a run's samples summed up in at most so many rows, of as many samples each.

        Of every column but the sequence and the time, which are those of a row's last sample, it is the highest value.
        """
        sql = "SELECT min(sequence), max(sequence) FROM samples WHERE run_id = ?"
        low, high = next(iter(self._rows(sql, run_id)), (None, None))
        if low is None:
            return []
        size = max(1, -(-(high - low + 1) // most))
        columns = ", ".join(f"max({field.name}) AS {field.name}" for field in fields(SampleRow))
        sql = f"SELECT {columns} FROM samples WHERE run_id = ? GROUP BY (sequence - ?) / ? ORDER BY sequence"
        return [SampleRow(**row) for row in self._dicts(sql, run_id, low, size)]

    def _predictions(self, run: Run) -> dict[str, tuple[Prediction, ...]]:
        found: dict[str, list[Prediction]] = {}
        for row in self._rows(
            "SELECT task, epoch, example_id, label, prediction FROM predictions WHERE run_id = ? AND epoch = ?"
            " ORDER BY task, position",
            run.id,
            run.best_epoch,
        ):
            found.setdefault(row[0], []).append(Prediction(*row))
        return {task: tuple(rows) for task, rows in found.items()}

    def _rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        if self.empty:
            return []
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise MissingError(f"database {self.path}: cannot be read: {error}") from error

    def _dicts(self, sql: str, *values: object) -> list[dict[str, Any]]:
        return [dict(row) for row in self._rows(sql, *values)]


_PLACED = sorted({"starting", *WORKING_STATES})
_USAGE_COLUMNS = tuple(field.name for field in fields(Usage))
_SAMPLE_COLUMNS = ", ".join(field.name for field in fields(SampleRow))
_MARK = ("state", "state_at", "heartbeat_at", "epochs_done", "stop_requested_at", "finished_at", "session", "place")
_NOT_IN_PHASE = ("id", "run_id", "sequence")


def _phase(row: dict[str, Any]) -> Phase:
    usage = {name: row.pop(name) for name in _USAGE_COLUMNS}
    usage["missing"] = json.loads(usage["missing"])
    measured = usage["window_s"] is not None
    values = {key: value for key, value in row.items() if key not in _NOT_IN_PHASE}
    return Phase(**values, usage=Usage(**usage) if measured else None)


_JSON_COLUMNS = ("origins", "conditions", "adapter_weights", "memory_predicted", "memory_measured")


def _run(row: sqlite3.Row) -> Run:
    values = dict(zip(row.keys(), row, strict=True))
    worker = {key: values.pop(key) for key in list(values) if key.startswith("worker_")}
    for column in _JSON_COLUMNS:
        values[column] = None if values[column] is None else json.loads(values[column])
    values["settings"] = RunSettings(**json.loads(values["settings"]))
    values["meter_settings"] = MeterSettings(**json.loads(values["meter_settings"]))
    claimed = worker["worker_pid"] is not None
    return Run(
        **values,
        worker=Worker(
            worker["worker_pid"], worker["worker_started_at"], worker["worker_boot_id"], worker["worker_host"]
        )
        if claimed
        else None,
    )
