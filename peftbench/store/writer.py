"""The one place that writes SQLite. Every call is one short transaction."""

from __future__ import annotations

import dataclasses
import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from peftbench.errors import UsageError
from peftbench.store.connection import open_for_writing
from peftbench.store.rows import (
    ACTIVE_STATES,
    Epoch,
    MeterSettings,
    Phase,
    Prediction,
    Progress,
    Run,
    SampleRow,
    Score,
    State,
    TaskBest,
    Usage,
    Worker,
    now,
)
from peftbench.text import clean

_ID_LETTERS = "abcdefghjkmnpqrstvwxyz23456789"


class Writer:
    """Writes runs. Use it as a context; not shared between threads.

    Raises:
        MissingError: the database cannot be opened for writing.
    """

    def __init__(self, path: Path) -> None:
        from sqlite_utils import Database

        self.path = path
        self._connection = open_for_writing(path)
        self._db = Database(self._connection)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def create_run(
        self,
        *,
        spec_json: str,
        spec_hash: str,
        group_hash: str,
        origins: Mapping[str, str],
        name: str | None = None,
        meter_settings: MeterSettings | None = None,
    ) -> str:
        """Insert a run in state `starting` and return its id.

        Without a name it gets the preset's with the next free number: `dora-r12-1`.

        Raises:
            UsageError: another run has that name.
        """
        if name is not None:
            _check_name(name)
        spec = json.loads(spec_json)
        run_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
        with self._transaction() as connection:
            taken = {row[0] for row in connection.execute("SELECT name FROM runs")}
            if name is not None and name in taken:
                raise UsageError(f"--name {name}: another run has that name", "names are unique; choose another")
            self._db["runs"].insert(
                {
                    "id": run_id,
                    "name": name or _next_name(spec["preset"], taken),
                    "state": "starting",
                    "preset": spec["preset"],
                    "workload": spec["workload"],
                    "method": spec["method"]["name"],
                    "encoder": spec["encoder"]["name"],
                    "seed": spec["seed"],
                    "spec_json": spec_json,
                    "spec_hash": spec_hash,
                    "group_hash": group_hash,
                    "origins": json.dumps(dict(origins)),
                    "meter_settings": json.dumps(dataclasses.asdict(meter_settings or MeterSettings())),
                    "epochs_planned": spec["train"]["epochs"],
                    "created_at": now(),
                }
            )
            self._put_event(run_id, "state", "starting")
        return run_id

    def claim(self, run_id: str, worker: Worker) -> bool:
        """Take a starting run for this worker; False where another worker or an end came first."""
        with self._transaction() as connection:
            cursor = connection.execute(
                "UPDATE runs SET state = 'running', started_at = ?, heartbeat_at = ?, worker_pid = ?,"
                " worker_started_at = ?, worker_boot_id = ?, worker_host = ? WHERE id = ? AND state = 'starting'",
                (now(), now(), worker.pid, worker.started_at, worker.boot_id, worker.host, run_id),
            )
            if cursor.rowcount:
                self._put_event(run_id, "state", "running")
            return bool(cursor.rowcount)

    def describe(self, run_id: str, **facts: Any) -> None:
        """Set facts of a run that are known once it is loaded (columns of `runs`; mappings become JSON)."""
        with self._transaction():
            self._describe(run_id, facts)

    def add_conditions(self, run_id: str, conditions: Mapping[str, Any]) -> None:
        """Add to what a run was measured under."""
        with self._transaction():
            self._add_conditions(run_id, conditions)

    def put_ending(
        self,
        run_id: str,
        phase: Phase,
        samples: Sequence[SampleRow],
        conditions: Mapping[str, Any],
        facts: Mapping[str, Any],
    ) -> None:
        """Store what is known only when a run ends; nothing where the run is not there any more."""
        with self._transaction():
            if not self._add_conditions(run_id, conditions):
                return
            self._describe(run_id, facts)
            self._put_phases(run_id, [phase])
            self._put_samples(run_id, samples)

    def put_progress(self, run_id: str, progress: Progress) -> bool:
        """Say where a run stands, with its heartbeat; True where somebody asked it to stop."""
        with self._transaction() as connection:
            row = connection.execute("SELECT state, stop_requested_at FROM runs WHERE id = ?", (run_id,)).fetchone()
            if row is None or row[0] not in ACTIVE_STATES:
                return True  # it was ended, or deleted, by another
            self._db["progress"].upsert({"run_id": run_id, **dataclasses.asdict(progress)}, pk="run_id")
            connection.execute("UPDATE runs SET heartbeat_at = ? WHERE id = ?", (progress.at, run_id))
            return row[1] is not None

    def put_epoch(
        self,
        run_id: str,
        epoch: Epoch,
        scores: Sequence[Score],
        phases: Sequence[Phase],
        *,
        best_epoch: int | None,
        task_bests: Sequence[TaskBest],
        predictions: Sequence[Prediction],
    ) -> None:
        """Store a finished epoch whole, and keep predictions of the best epochs only.

        `predictions` are this epoch's; those of epochs that are no longer best are dropped.
        """
        rows = [
            {"run_id": run_id, "position": position, **dataclasses.asdict(p)} for position, p in enumerate(predictions)
        ]
        with self._transaction() as connection:
            self._db["epochs"].insert({"run_id": run_id, **dataclasses.asdict(epoch)})
            self._db["scores"].insert_all({"run_id": run_id, **dataclasses.asdict(score)} for score in scores)
            self._put_phases(run_id, phases)
            self._db["task_bests"].upsert_all(
                ({"run_id": run_id, **dataclasses.asdict(best)} for best in task_bests), pk=("run_id", "task")
            )
            self._db["predictions"].insert_all(rows)
            connection.execute(
                "DELETE FROM predictions WHERE run_id = ?1 AND epoch IS NOT ?2 AND epoch != coalesce("
                " (SELECT b.epoch FROM task_bests b WHERE b.run_id = ?1 AND b.task = predictions.task), -1)",
                (run_id, best_epoch),
            )
            connection.execute(
                "UPDATE runs SET epochs_done = ?2, heartbeat_at = ?3, best_epoch = ?4,"
                " dev_avg = (SELECT dev_avg FROM epochs WHERE run_id = ?1 AND epoch = ?4),"
                " leaderboard = (SELECT leaderboard FROM epochs WHERE run_id = ?1 AND epoch = ?4) WHERE id = ?1",
                (run_id, epoch.epoch, now(), best_epoch),
            )

    def put_phases(self, run_id: str, phases: Sequence[Phase]) -> None:
        """Store measured phases outside an epoch (load, say)."""
        with self._transaction():
            self._put_phases(run_id, phases)

    def put_samples(self, run_id: str, rows: Sequence[SampleRow]) -> None:
        """Store thinned samples; one that is there already stays as it is."""
        with self._transaction():
            self._put_samples(run_id, rows)

    def put_losses(self, run_id: str, epoch: int, task: str, points: Sequence[tuple[int, int, float]]) -> None:
        """Store mean training losses: (last step, steps averaged over, mean loss) each."""
        with self._transaction():
            self._db["losses"].insert_all(
                {"run_id": run_id, "step": step, "epoch": epoch, "task": task, "steps": steps, "loss": loss}
                for step, steps, loss in points
            )

    def put_event(self, run_id: str, kind: str, message: str) -> None:
        """Store something worth telling later."""
        with self._transaction():
            self._put_event(run_id, kind, message)

    def finish(self, run_id: str, state: State, reason: str | None = None, exit_code: int = 0) -> bool:
        """End an active run; False where it had ended already (the first end stands)."""
        with self._transaction() as connection:
            cursor = connection.execute(
                "UPDATE runs SET state = ?, reason = ?, exit_code = ?, finished_at = ?"
                " WHERE id = ? AND state IN ('starting', 'running')",
                (state, reason, exit_code, now(), run_id),
            )
            if cursor.rowcount:
                connection.execute("DELETE FROM progress WHERE run_id = ?", (run_id,))
                self._put_event(run_id, "state", f"{state}: {reason}" if reason else state)
            return bool(cursor.rowcount)

    def request_stop(self, run_id: str) -> None:
        """Ask a run to stop; its worker looks several times a second."""
        with self._transaction() as connection:
            connection.execute("UPDATE runs SET stop_requested_at = ? WHERE id = ?", (now(), run_id))

    def delete_run(self, run: Run) -> None:
        """Delete a run and all its rows.

        Raises:
            UsageError: it is still running.
        """
        with self._transaction() as connection:
            state = connection.execute("SELECT state FROM runs WHERE id = ?", (run.id,)).fetchone()
            if state and state[0] in ACTIVE_STATES:
                who = f"kill {run.worker.pid}" if run.worker else "Ctrl-C"
                raise UsageError(
                    f"run {run.name} ({run.id}) is {state[0]}", f"stop it first: Ctrl-C where it was started, or {who}"
                )
            connection.execute("DELETE FROM runs WHERE id = ?", (run.id,))

    def _describe(self, run_id: str, facts: Mapping[str, Any]) -> None:
        values = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in facts.items()}
        if values:
            self._db["runs"].update(run_id, values)

    def _add_conditions(self, run_id: str, conditions: Mapping[str, Any]) -> bool:
        """Add to a run's conditions; False where there is no such run. (json_patch takes null for "remove".)"""
        row = self._connection.execute("SELECT conditions FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is not None:
            merged = json.dumps(json.loads(row[0]) | dict(conditions))
            self._connection.execute("UPDATE runs SET conditions = ? WHERE id = ?", (merged, run_id))
        return row is not None

    def _put_samples(self, run_id: str, rows: Sequence[SampleRow]) -> None:
        self._db["samples"].insert_all(
            ({"run_id": run_id, **dataclasses.asdict(row)} for row in rows), pk=("run_id", "sequence"), ignore=True
        )

    def _put_phases(self, run_id: str, phases: Sequence[Phase]) -> None:
        self._db["phases"].insert_all({"run_id": run_id, **_flat(phase)} for phase in phases)

    def _put_event(self, run_id: str, kind: str, message: str) -> None:
        self._connection.execute(
            "INSERT INTO events SELECT ?1, coalesce(max(sequence), 0) + 1, ?2, ?3, ?4 FROM events WHERE run_id = ?1",
            (run_id, now(), kind, message),
        )


def _flat(phase: Phase) -> dict[str, Any]:
    """Return a phase with its usage as columns of one row."""
    row = dataclasses.asdict(phase)
    usage = row.pop("usage") or {f.name: None for f in dataclasses.fields(Usage)}
    return {**row, **usage, "missing": json.dumps(usage["missing"] or {})}


def _check_name(name: str) -> None:
    if name == "latest":
        raise UsageError("--name latest: that always means the newest run", "choose another")
    if not name or clean(name) != name:
        raise UsageError(f"--name {clean(name)}: empty, or with characters that cannot be printed", "choose another")


def _next_name(preset: str, taken: set[str]) -> str:
    number = 1
    while f"{preset}-{number}" in taken:
        number += 1
    return f"{preset}-{number}"
