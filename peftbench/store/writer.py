"""Writes by processes other than a run's worker: new runs and state changes, each in one short transaction."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from peftbench.errors import MissingError, StorageError, UsageError
from peftbench.store.rows import (
    ACTIVE_STATES,
    LONGEST_NAME,
    WORKING_STATES,
    Failure,
    MeterSettings,
    QueueSettings,
    Run,
    RunSettings,
    State,
    UnreadableRun,
    now,
)
from peftbench.store.transactions import Transactions, move, what_helps
from peftbench.text import clean

_ID_LETTERS = "abcdefghjkmnpqrstvwxyz23456789"


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be queued. Without a name it gets the preset's with the next free number: `dora-r12-1`.

    One of a cross-validation has its fold in it, counted from 1: `dora-r12-fold2of5-1`.
    """

    spec_json: str
    spec_hash: str
    group_hash: str
    origins: Mapping[str, str]
    id: str = field(default_factory=lambda: "".join(secrets.choice(_ID_LETTERS) for _ in range(8)))
    name: str | None = None
    sweep: str | None = None
    meter_settings: MeterSettings = field(default_factory=MeterSettings)
    settings: RunSettings = field(default_factory=RunSettings)


class Writer(Transactions):
    """Writes runs from outside their workers, used as a context; not shared between threads.

    Every method raises StorageError where the database cannot be written now (the disk is full, say).
    """

    @contextmanager
    def _transaction(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            with super()._transaction(durable) as connection:
                yield connection
        except sqlite3.OperationalError as error:
            raise StorageError(
                f"database {self.path}: cannot be written: {error}", f"{what_helps(error)}; peftbench doctor checks it"
            ) from error

    def create_runs(self, runs: Collection[NewRun]) -> None:
        """Queue runs behind those that wait, all or none. They may be started at any time afterwards.

        Raises:
            UsageError: a given name is taken, too long, or not printable.
        """
        with self._transaction(durable=True) as connection:
            taken = {row[0] for row in connection.execute("SELECT name FROM runs")}
            last_position = connection.execute("SELECT coalesce(max(queue_position), 0) FROM runs").fetchone()[0]
            for number, run in enumerate(runs, start=1):
                name = _free_name(run, taken)
                taken.add(name)
                _insert(connection, run, name, last_position + number)

    def start(self, run_id: str, device: str | None) -> bool:
        """Assign a queued run to a device; False where it is no longer queued."""
        reason = f"on {device}" if device else None
        with self._transaction() as connection:
            return move(connection, run_id, "starting", ("queued",), reason, {"device": device})

    def back_to_queue(
        self, run: Run, reason: str, *, first: bool, by_itself: bool, forget: Collection[str] = ()
    ) -> bool:
        """Requeue a run to continue where it was; False where it has changed since `run` was read.

        Args:
            run: the run as it was read.
            reason: stored with the state change.
            first: put it before all waiting runs, else behind them.
            by_itself: whether the queue resumes it automatically, which is counted.
            forget: conditions that no longer hold.
        """
        with self._transaction(durable=True) as connection:
            if not _is_unchanged(connection, run):
                return False
            edge, step = ("min", -1) if first else ("max", 1)
            sql = f"SELECT coalesce({edge}(queue_position), 0) + ? FROM runs"
            columns = {
                **dict.fromkeys(("failure", "exit_code", "finished_at", "stop_requested_at", "device")),
                **dict.fromkeys(("worker_pid", "worker_started_at", "worker_boot_id", "worker_host", "heartbeat_at")),
                "queue_position": connection.execute(sql, (step,)).fetchone()[0],
            }
            moved = move(connection, run.id, "queued", (run.state,), reason, columns)
            if moved and by_itself:
                connection.execute("UPDATE runs SET resumed = resumed + 1 WHERE id = ?", (run.id,))
            if moved and forget:
                kept = {name: value for name, value in run.conditions.items() if name not in forget}
                connection.execute("UPDATE runs SET conditions = ? WHERE id = ?", (json.dumps(kept), run.id))
            return moved

    def end(self, run: Run, state: State, reason: str, *, failure: Failure | None = None, exit_code: int = 0) -> bool:
        """End a run whose worker cannot do it; False where it has ended or changed since `run` was read."""
        columns = {"exit_code": exit_code, "failure": failure}
        if run.state not in ACTIVE_STATES:
            return False
        with self._transaction(durable=True) as connection:
            return _is_unchanged(connection, run) and move(connection, run.id, state, (run.state,), reason, columns)

    def stall(self, run_id: str, reason: str) -> bool:
        """Mark a running run as stalled."""
        with self._transaction() as connection:
            return move(connection, run_id, "stalled", ("running",), reason)

    def request_stop(self, run_id: str, reason: str = "asked to stop") -> State | None:
        """Stop a queued run, or ask a worker to stop, which polls several times a second; None where it had ended.

        Returns the run's state.
        """
        with self._transaction() as connection:
            if move(connection, run_id, "stopped", ("queued",), reason, {"exit_code": 130}):
                return "stopped"
            since = {"starting", *WORKING_STATES} - {"stopping"}
            move(connection, run_id, "stopping", since, reason, {"stop_requested_at": now()})
            stopping = "SELECT 1 FROM runs WHERE id = ? AND state = 'stopping'"
            return "stopping" if connection.execute(stopping, (run_id,)).fetchone() else None

    def stop_queued(self, run_id: str, reason: str) -> bool:
        """Stop a run that waits in the queue; False where it does not."""
        with self._transaction() as connection:
            return move(connection, run_id, "stopped", ("queued",), reason, {"exit_code": 130})

    def set_tags(self, run_id: str, change: Callable[[tuple[str, ...]], Sequence[str]]) -> tuple[str, ...]:
        """Replace a run's tags by what `change` makes of them; return them.

        Raises:
            MissingError: there is no such run any more.
        """
        with self._transaction() as connection:
            row = connection.execute("SELECT tags FROM runs WHERE id = ?", (run_id,)).fetchone()
            if row is None:
                raise MissingError(f"there is no run {run_id} any more")
            tags = tuple(change(tuple(json.loads(row[0]))))
            connection.execute("UPDATE runs SET tags = ? WHERE id = ?", (json.dumps(tags, ensure_ascii=False), run_id))
            return tags

    def set_note(self, run_id: str, note: str | None) -> None:
        """Set a run's note; None removes it."""
        with self._transaction() as connection:
            connection.execute("UPDATE runs SET note = ? WHERE id = ?", (note, run_id))

    def set_queue(self, host: str, settings: QueueSettings) -> None:
        """Set a host's queue settings; None leaves a setting unchanged."""
        rows = [(host, name, str(value)) for name, value in asdict(settings).items() if value is not None]
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO queue_settings VALUES (?, ?, ?)", rows)

    def delete_run(self, run: Run | UnreadableRun) -> None:
        """Delete a run and all its rows.

        Raises:
            UsageError: it has not ended.
        """
        with self._transaction() as connection:
            state = connection.execute("SELECT state FROM runs WHERE id = ?", (run.id,)).fetchone()
            if state and state[0] in ACTIVE_STATES:
                raise UsageError(
                    f"run {run.name} ({run.id}) is {state[0]}", f"stop it first: peftbench stop {run.name}"
                )
            connection.execute("DELETE FROM runs WHERE id = ?", (run.id,))


def _is_unchanged(connection: sqlite3.Connection, run: Run) -> bool:
    """Tell whether a run is still in the state, and in the attempt, in which it was read."""
    row = connection.execute("SELECT state, attempt FROM runs WHERE id = ?", (run.id,)).fetchone()
    return row is not None and tuple(row) == (run.state, run.attempt)


def _insert(connection: sqlite3.Connection, run: NewRun, name: str, position: int) -> None:
    spec = json.loads(run.spec_json)
    values: dict[str, Any] = {
        "id": run.id,
        "name": name,
        "state": "queued",
        "preset": spec["preset"],
        "workload": spec["workload"],
        "method": spec["method"]["name"],
        "encoder": spec["encoder"]["name"],
        "seed": spec["seed"],
        "spec_json": run.spec_json,
        "spec_hash": run.spec_hash,
        "group_hash": run.group_hash,
        "origins": json.dumps(dict(run.origins)),
        "meter_settings": json.dumps(asdict(run.meter_settings)),
        "settings": json.dumps(asdict(run.settings)),
        "epochs_planned": spec["train"]["epochs"],
        "sweep": run.sweep,
        "queue_position": position,
        "created_at": (moment := now()),
        "state_at": moment,
    }
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO runs ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
    connection.execute("INSERT INTO events VALUES (?, 1, ?, 'state', 'queued')", (values["id"], moment))


def _free_name(run: NewRun, taken: Collection[str]) -> str:
    if run.name is None:
        spec, number = json.loads(run.spec_json), 1
        stem, split = spec["preset"][: LONGEST_NAME - 20], spec.get("split") or {}
        if split.get("fold") is not None:
            stem += f"-fold{split['fold'] + 1}of{split['folds']}"
        while f"{stem}-{number}" in taken:
            number += 1
        return f"{stem}-{number}"
    if run.name == "latest":
        raise UsageError("--name latest: that always means the newest run", "choose another")
    if not run.name or clean(run.name) != run.name:
        raise UsageError(f"--name {clean(run.name)}: empty, or with unprintable characters", "choose another")
    if len(run.name) > LONGEST_NAME:
        raise UsageError(
            f"--name {clean(run.name, 40)}: {len(run.name):,} characters; a run's name has at most {LONGEST_NAME}",
            "choose a shorter one",
        )
    if run.name in taken:
        raise UsageError(f"--name {run.name}: another run has that name", "names are unique; choose another")
    return run.name
