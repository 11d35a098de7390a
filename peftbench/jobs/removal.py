"""Deleting runs: rows, logs and weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from peftbench.errors import EXIT_FAILED
from peftbench.jobs.liveness import state_shown
from peftbench.paths import run_folder
from peftbench.store.rows import Run
from peftbench.store.writer import Writer


def remove(database: Path, runs: Sequence[Run]) -> None:
    """Delete runs that have ended, are lost or wait in the queue.

    Raises:
        UsageError: one is going on; those before it are deleted.
        MissingError: the database is not there.
    """
    with Writer(database, create=False) as writer:
        for run in runs:
            if state_shown(run) == "lost":
                writer.end(run, "lost", "its worker is gone without a word", failure="signal", exit_code=EXIT_FAILED)
            elif run.state == "queued":
                writer.request_stop(run.id, "deleted")
            writer.delete_run(run)
            shutil.rmtree(run_folder(database, run.id), ignore_errors=True)
