"""Adding runs to the queue, and starting the runner that drains it."""

from __future__ import annotations

import platform
import re
import secrets
import shutil
import string
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from peftbench.errors import MissingError, UsageError
from peftbench.jobs.environment import keep
from peftbench.jobs.lock import RunnerLock
from peftbench.paths import new_run_folder, runs_folder
from peftbench.spec.model import RunSpec
from peftbench.spec.resolve import Resolved
from peftbench.store.ownership import claim
from peftbench.store.rows import MeterSettings, QueueSettings, RunSettings
from peftbench.store.writer import NewRun, Writer
from peftbench.tasks import FilesSource

_LARGEST_LOG = 2**20

_started: dict[Path, subprocess.Popen[bytes]] = {}  # runners by database, kept so that ended ones are reaped


def enqueue(
    database: Path,
    runs: Sequence[Resolved],
    *,
    sweep: str | None = None,
    name: str | None = None,
    meter_settings: MeterSettings | None = None,
    settings: RunSettings | None = None,
    slots: int | None = None,
    device: str | None = None,
) -> list[str]:
    """Queue runs, all or none, start a runner for the queue unless there is one, and return the runs' ids.

    Args:
        database: path of the database.
        runs: the resolved specs.
        sweep: label that groups the runs.
        name: name of a single run; several runs are named by their presets.
        meter_settings: how they are measured.
        settings: their checkpoints and resumption.
        slots: concurrent runs on this host from now on; None: unchanged.
        device: UUID of the GPU to run on, or "" for the CPU; None: any free device.

    Raises:
        MissingError: a file of a workload does not exist, or the database cannot be written.
        UsageError: the name is taken, or a run of a cross-validation names no fold.
    """
    for resolved in runs:
        _check_fold(resolved.spec)
        check_files(resolved.spec)
    new = [
        NewRun(
            resolved.spec.canonical_json(),
            resolved.spec.hash(),
            resolved.spec.group_hash(),
            resolved.origins,
            name=name,
            sweep=sweep,
            meter_settings=meter_settings or MeterSettings(),
            settings=settings or RunSettings(),
        )
        for resolved in runs
    ]
    with Writer(database) as writer:
        try:
            claim(database)
            for run in new:  # before they are visible, as they may be started at once
                keep(new_run_folder(database, run.id), device)
            if slots is not None:
                writer.set_queue(platform.node(), QueueSettings(slots=slots))
            writer.create_runs(new)
        except BaseException as error:
            for run in new:
                shutil.rmtree(new_run_folder(database, run.id), ignore_errors=True)
            if isinstance(error, OSError):
                raise MissingError(f"a run's folder beside {database} cannot be created: {error}") from error
            raise
    ensure_runner(database)
    return [run.id for run in new]


def ensure_runner(database: Path) -> bool:
    """Start the runner of a database's queue on this host, unless there is one; return whether it was started.

    A runner started by this process that does not hold the lock yet is still starting, on a busy machine for many
    seconds. Two runners started at once by two processes do no harm: the second finds the lock taken and exits.

    Raises:
        MissingError: it cannot be started.
    """
    for known, process in list(_started.items()):
        if process.poll() is not None:
            del _started[known]
    log, lock = runner_log(database), RunnerLock(database)
    try:
        coming = _started.get(database.resolve())
        if lock.holder() is not None or (coming is not None and not lock.held_last_by(coming.pid)):
            return False
        log.parent.mkdir(parents=True, exist_ok=True)
        fresh = log.exists() and log.stat().st_size > _LARGEST_LOG
        with log.open("wb" if fresh else "ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "peftbench.jobs.runner", "--db", str(database.resolve())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise MissingError(f"the runner that drains the queue of {database} cannot be started: {error}") from error
    _started[database.resolve()] = process
    return True


def fresh_label(name: str) -> str:
    """Return a unique label for runs that are queued together: `study-7kq2`."""
    plain = re.sub("[^A-Za-z0-9._+-]+", "-", name).strip("-")[:60] or "sweep"
    return f"{plain}-{''.join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(4))}"


def runner_log(database: Path) -> Path:
    """Return the runner's log file, for its own errors."""
    return runs_folder(database) / "runner.log"


def _check_fold(spec: RunSpec) -> None:
    if spec.split.folds is not None and spec.split.fold is None:
        raise UsageError(
            f"split.folds={spec.split.folds} is a run for each fold, and one is asked for here",
            f"name the fold that is tested: split.fold=0 to {spec.split.folds - 1}",
        )


def check_files(spec: RunSpec) -> None:
    """Check that the files named by a workload exist, before anything is started.

    Raises:
        MissingError: naming the first that does not.
    """
    from peftbench.data.load import SPLITS
    from peftbench.data.sources.files import split_paths

    for task in spec.tasks:
        if isinstance(task.source, FilesSource):
            for split in SPLITS:
                split_paths(task, task.source, split)
