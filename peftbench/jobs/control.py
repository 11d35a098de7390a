"""Stopping, resuming and retrying a stored run."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from peftbench.errors import MissingError, UsageError
from peftbench.jobs.environment import keep
from peftbench.jobs.liveness import liveness, state_shown
from peftbench.jobs.queue import enqueue, ensure_runner
from peftbench.paths import new_run_folder, other_runs_folder, run_folder
from peftbench.store.ownership import claim, not_owned
from peftbench.store.rows import ACTIVE_STATES, Run, State
from peftbench.store.writer import Writer
from peftbench.training.inputs import INPUTS

_SAME_AGAIN = ("nan", "spec")  # failures caused by the spec alone, which would recur


def stop(database: Path, run: Run) -> State | None:
    """Stop a queued run, or ask a running one to stop at its next step; return its state, None where it had ended.

    The worker polls for the request several times a second and writes a checkpoint; if it does not stop, the runner
    sends SIGTERM and finally SIGKILL.
    """
    with Writer(database, create=False) as writer:
        state = writer.request_stop(run.id)
    if state is not None and state != "stopped":
        ensure_runner(database)
    return state


def kill(run: Run) -> None:
    """Kill a run's worker at once, if it is alive on this host. A run asked to stop before is recorded as stopped."""
    if run.worker is not None and liveness(run.worker) == "alive":
        with suppress(ProcessLookupError):
            os.kill(run.worker.pid, signal.SIGKILL)


def resumable(run: Run) -> bool:
    """Whether a run ended before completion and may get further when resumed."""
    ended = run.state not in ACTIVE_STATES or state_shown(run) == "lost"
    return ended and run.state != "finished" and run.failure not in _SAME_AGAIN


def resume(database: Path, run: Run, *, anyway: bool = False) -> None:
    """Queue a run that was stopped, failed or lost, to continue from its last checkpoint.

    Args:
        database: the run's database.
        run: the run as it was read.
        anyway: accept the current encoder and data; where they changed, the run starts over with them.

    Raises:
        UsageError: it has not ended, is finished, would fail in the same way again, was resumed concurrently, or its
            files belong to another database.
        MissingError: its folder cannot be written.
    """
    message = f"run {run.name} ({run.id}) is {state_shown(run)}"
    lost = state_shown(run) == "lost"
    if run.state in ACTIVE_STATES and not lost:
        raise UsageError(message, f"follow it: peftbench watch {run.name}")
    if run.state == "finished":
        raise UsageError(f"{message}: there is nothing left to do", f"start it over: peftbench retry {run.name}")
    if run.failure in _SAME_AGAIN:
        raise UsageError(
            f"{message}, and would fail in the same way again: {run.reason}",
            f"change something: peftbench retry {run.name} --set KEY=VALUE",
        )
    _bring_files(database, run)
    if (reason := not_owned(database, run.id)) is not None:  # its worker would overwrite them
        own = new_run_folder(database, run.id)
        raise UsageError(
            f"run {run.name} ({run.id}): {run_folder(database, run.id)} belongs to another database: {reason}",
            f"copy that folder to {own} first",
        )
    try:
        keep(run_folder(database, run.id))  # before queuing, as it may be started at once
    except OSError as error:
        raise MissingError(f"run {run.name} ({run.id}): its folder cannot be written: {error}") from error
    with Writer(database, create=False) as writer:
        reason = "resumed with the current encoder and data" if anyway else "resumed"
        forget = INPUTS if anyway else ()
        if not writer.back_to_queue(run, reason, first=False, by_itself=False, forget=forget):
            raise UsageError(f"run {run.name} ({run.id}) was resumed by another process at the same time")
    ensure_runner(database)


def _bring_files(database: Path, run: Run) -> None:
    """Copy a run's files beside its database if only the additional runs folder has them: its worker needs them there.

    Raises:
        MissingError: they cannot be copied.
    """
    source, own = run_folder(database, run.id), new_run_folder(database, run.id)
    if source.parent != other_runs_folder() or source == own:
        return
    part = own.with_name(f"{own.name}.part")
    try:
        claim(database)
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(source, part)
        part.rename(own)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise MissingError(f"run {run.name} ({run.id}): its files cannot be copied from {source}: {error}") from error


def retry(database: Path, run: Run, overrides: Sequence[str] = ()) -> str:
    """Queue a new run of the same spec with overrides, from the start; return its id. The old run is kept.

    Raises:
        UsageError: an override is invalid.
        MissingError: a file of the workload no longer exists.
    """
    from peftbench.spec.resolve import changed

    resolved = changed(run.spec_json, run.origins, overrides)
    with Writer(database, create=False):  # do not create a new database if the run's own was deleted
        pass
    (run_id,) = enqueue(database, [resolved], sweep=run.sweep, meter_settings=run.meter_settings, settings=run.settings)
    return run_id
