"""What can be done with a run that exists: stop it, let it go on, try it again."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from peftbench.errors import MissingError, UsageError
from peftbench.jobs.liveness import liveness, state_shown
from peftbench.jobs.queue import enqueue, ensure_runner
from peftbench.jobs.surroundings import keep
from peftbench.paths import run_folder
from peftbench.store.rows import ACTIVE_STATES, Run, State
from peftbench.store.writer import Writer

_SAME_AGAIN = ("nan", "spec")  # failures that come from the spec alone


def stop(database: Path, run: Run) -> State | None:
    """Stop a queued run, or ask a working one to stop at its next step; None where it had ended.

    The worker hears it several times a second and writes a checkpoint; where it does not, the runner sends SIGTERM
    and at last SIGKILL. Returns the state that the run is in now.
    """
    with Writer(database, create=False) as writer:
        state = writer.request_stop(run.id)
    if state is not None and state != "stopped":
        ensure_runner(database)
    return state


def kill(run: Run) -> None:
    """Kill a run's worker at once, if it lives on this host. Where it was asked to stop, that is how it stopped."""
    if run.worker is not None and liveness(run.worker) == "alive":
        with suppress(ProcessLookupError):
            os.kill(run.worker.pid, signal.SIGKILL)


def resumable(run: Run) -> bool:
    """Whether a run has ended before its end, and may go further when it is resumed."""
    ended = run.state not in ACTIVE_STATES or state_shown(run) == "lost"
    return ended and run.state != "finished" and run.failure not in _SAME_AGAIN


def resume(database: Path, run: Run) -> None:
    """Queue a run that stopped, failed or was lost, to go on from its last checkpoint.

    Raises:
        UsageError: it has not ended, is finished, would fail in the same way again, or somebody else was quicker.
        MissingError: its folder cannot be written.
    """
    said = f"run {run.name} ({run.id}) is {state_shown(run)}"
    lost = state_shown(run) == "lost"
    if run.state in ACTIVE_STATES and not lost:
        raise UsageError(said, f"see how it stands: peftbench watch {run.name}")
    if run.state == "finished":
        raise UsageError(
            f"{said}: there is nothing left to do", f"once more from the start: peftbench retry {run.name}"
        )
    if run.failure in _SAME_AGAIN:
        raise UsageError(
            f"{said}, and would fail in the same way again: {run.reason}",
            f"change something: peftbench retry {run.name} --set KEY=VALUE",
        )
    try:
        keep(run_folder(database, run.id))  # before it is queued: it may be started at once
    except OSError as error:
        raise MissingError(f"run {run.name} ({run.id}): its folder cannot be written: {error}") from error
    with Writer(database, create=False) as writer:
        if not writer.back_to_queue(run, "resumed", first=False, by_itself=False):
            raise UsageError(f"run {run.name} ({run.id}) was resumed by somebody else at the same time")
    ensure_runner(database)


def retry(database: Path, run: Run, overrides: Sequence[str] = ()) -> str:
    """Queue a new run of the same spec, changed where asked, from the start; return its id. The old one stays.

    Raises:
        UsageError: an override does not fit.
        MissingError: a file of the workload is not there any more.
    """
    from peftbench.spec.resolve import changed

    resolved = changed(run.spec_json, run.origins, overrides)
    with Writer(database, create=False):  # not into a new one, where the run's own is gone
        pass
    (run_id,) = enqueue(database, [resolved], sweep=run.sweep, meter_settings=run.meter_settings, settings=run.settings)
    return run_id
