"""Putting runs into the queue, and seeing that somebody drains it."""

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

from peftbench.errors import MissingError
from peftbench.jobs.lock import RunnerLock
from peftbench.jobs.surroundings import keep
from peftbench.paths import run_folder, runs_folder
from peftbench.spec.model import RunSpec
from peftbench.spec.resolve import Resolved
from peftbench.store.rows import MeterSettings, QueueSettings, RunSettings
from peftbench.store.writer import NewRun, Writer
from peftbench.tasks import FilesSource

_LARGEST_LOG = 2**20

_started: list[subprocess.Popen[bytes]] = []  # so that those that have ended can be waited for


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
    """Queue runs, all or none, start what drains the queue where nobody does yet, and return their ids.

    Args:
        database: the file.
        runs: resolved.
        sweep: the label under which they belong together.
        name: of the one run; several are named by their presets.
        meter_settings: how they are measured.
        settings: how they are kept safe.
        slots: how many runs go at once on this host from now on; None: as it was said before.
        device: the UUID of the card that they are to run on, or "" for the CPU; None: wherever there is a place.

    Raises:
        MissingError: a file of a workload is not there, or the database cannot be written.
        UsageError: the name is taken.
    """
    for resolved in runs:
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
            for run in new:  # before anybody can see it: it may be started at once
                keep(run_folder(database, run.id), device)
            if slots is not None:
                writer.set_queue(platform.node(), QueueSettings(slots=slots))
            writer.create_runs(new)
        except BaseException as error:
            for run in new:
                shutil.rmtree(run_folder(database, run.id), ignore_errors=True)
            if isinstance(error, OSError):
                raise MissingError(f"a run's folder beside {database} cannot be made: {error}") from error
            raise
    ensure_runner(database)
    return [run.id for run in new]


def ensure_runner(database: Path) -> bool:
    """Start what drains the queue of a database on this host, unless it is there; whether it was started.

    That two are started at once does no harm: the second finds the lock taken and goes.

    Raises:
        MissingError: it cannot be started.
    """
    _started[:] = [process for process in _started if process.poll() is None]
    log = runner_log(database)
    try:
        if RunnerLock(database).holder() is not None:
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
        raise MissingError(f"what drains the queue of {database} cannot be started: {error}") from error
    _started.append(process)
    return True


def fresh_label(name: str) -> str:
    """Return a label for runs that are queued together, which those of an earlier time do not have: `study-7kq2`."""
    plain = re.sub("[^A-Za-z0-9._+-]+", "-", name).strip("-")[:60] or "sweep"
    return f"{plain}-{''.join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(4))}"


def runner_log(database: Path) -> Path:
    """Return the file that the runner prints into: its own troubles, if it has any."""
    return runs_folder(database) / "runner.log"


def check_files(spec: RunSpec) -> None:
    """See that the files a workload names are there, before anything is started.

    Raises:
        MissingError: naming the first that is not.
    """
    from peftbench.data.load import SPLITS
    from peftbench.data.sources.files import split_path

    for task in spec.tasks:
        if isinstance(task.source, FilesSource):
            for split in SPLITS:
                split_path(task, task.source, split)
