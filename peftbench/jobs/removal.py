"""Deleting runs: rows, logs and weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from peftbench.errors import EXIT_FAILED
from peftbench.jobs.liveness import state_shown
from peftbench.paths import is_run_id, run_folder
from peftbench.store.ownership import not_owned
from peftbench.store.rows import Run, UnreadableRun
from peftbench.store.writer import Writer


def remove(database: Path, runs: Sequence[Run | UnreadableRun]) -> list[str]:
    """Delete runs that have ended, are lost or queued; return a message for each folder that was left.

    Files claimed by another database are left, as where this one is a copy of it.

    Raises:
        UsageError: a run is in progress; those before it are deleted.
        MissingError: the database does not exist.
    """
    left = []
    with Writer(database, create=False) as writer:
        for run in runs:
            if isinstance(run, UnreadableRun):
                writer.stop_queued(run.id, "deleted")
            elif state_shown(run) == "lost":
                writer.end(
                    run, "lost", "its worker died without recording an end", failure="signal", exit_code=EXIT_FAILED
                )
            elif run.state == "queued":
                writer.stop_queued(run.id, "deleted")
            writer.delete_run(run)
            if is_run_id(run.id) and (reason := _remove_files(database, run.id)):
                left.append(reason)
    return left


def _remove_files(database: Path, run_id: str) -> str | None:
    """Delete a run's files; return why any of them are left."""
    folder = run_folder(database, run_id)
    if not folder.exists():
        return None
    if (reason := not_owned(database, run_id)) is not None:
        return f"left: {folder}: {reason}"
    try:
        shutil.rmtree(folder)
    except OSError as error:
        return f"left: {folder}: cannot be deleted: {error.strerror or error}"
    return None
