"""What a run comes to in the end, to the bit, so that one that was interrupted can be held to one that was not."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from peftbench.paths import run_folder

# Changes of state and what a resumed worker says of itself are of the interruption, not of the result.
NOT_OF_THE_RESULT = ("state", "resume", "storage", "checkpoint")
_TABLES = {
    "epochs": "SELECT epoch, dev_avg, leaderboard, reason FROM epochs WHERE run_id = ? ORDER BY epoch",
    "scores": "SELECT epoch, task, split, metric, value, reason, loss, examples FROM scores WHERE run_id = ?"
    " ORDER BY epoch, task, split",
    "losses": "SELECT step, epoch, task, steps, loss, metric, lr, grad_norm FROM losses WHERE run_id = ? ORDER BY step",
    "interim": "SELECT step, epoch, task, metric, value, reason, loss, examples FROM interim_scores WHERE run_id = ?"
    " ORDER BY step, task",
    "bests": "SELECT task, epoch, value FROM task_bests WHERE run_id = ? ORDER BY task",
    "predictions": "SELECT task, epoch, position, example_id, label, prediction FROM predictions WHERE run_id = ?"
    " ORDER BY task, epoch, position",
    "steps": "SELECT sum(steps) FROM phases WHERE run_id = ? AND phase IN ('warmup', 'train')",  # each in one phase
    "run": "SELECT state, epochs_done, best_epoch, dev_avg, leaderboard, weights_trainable, data_hash FROM runs"
    " WHERE id = ?",
}


def final(database: Path, run_id: str) -> dict[str, Any]:
    """Return everything that the same spec must come to again."""
    with closing(sqlite3.connect(database)) as connection:
        rows: dict[str, Any] = {name: connection.execute(sql, (run_id,)).fetchall() for name, sql in _TABLES.items()}
        marks = ", ".join("?" * len(NOT_OF_THE_RESULT))
        sql = f"SELECT kind, message FROM events WHERE run_id = ? AND kind NOT IN ({marks}) ORDER BY rowid"
        rows["events"] = sorted(connection.execute(sql, (run_id, *NOT_OF_THE_RESULT)).fetchall())
    folder = run_folder(database, run_id)
    rows["weights"] = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("epoch-*.safetensors"))
    }
    rows["left over"] = sorted(path.name for path in folder.iterdir() if path.suffix in (".tmp", ".ckpt"))
    return rows


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the names of what is not the same, to the bit."""
    return [name for name in one if repr(one[name]) != repr(other[name])]


def unsound(database: Path) -> list[str]:
    """Return what is wrong with a database: nothing."""
    with closing(sqlite3.connect(database)) as connection:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        return found + [
            f"a row of {row[0]} belongs to nothing" for row in connection.execute("PRAGMA foreign_key_check")
        ]
