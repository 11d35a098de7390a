"""Comparison of planned runs with the store: which are finished, in progress, to be resumed, or still to be run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from peftbench.jobs.control import resumable, resume
from peftbench.jobs.liveness import state_shown
from peftbench.jobs.queue import enqueue
from peftbench.spec.resolve import Resolved
from peftbench.store.rows import ACTIVE_STATES, Run

Need = Literal["nothing", "patience", "resume", "run"]


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A planned run, the newest stored one of its spec (seed included), and what it still needs."""

    resolved: Resolved
    run: Run | None
    need: Need


def run_statuses(planned: Sequence[Resolved], stored: Iterable[Run]) -> list[RunStatus]:
    """Return the status of each planned run. A finished run takes precedence over newer unfinished ones.

    Args:
        planned: the planned runs.
        stored: all runs, newest first.
    """
    newest: dict[str, Run] = {}
    for run in stored:
        before = newest.get(run.spec_hash)
        if before is None or (run.state == "finished" and before.state != "finished"):
            newest[run.spec_hash] = run
    statuses = []
    for resolved in planned:
        known = newest.get(resolved.spec.hash())
        statuses.append(RunStatus(resolved, known, _need(known)))
    return statuses


def _need(run: Run | None) -> Need:
    if run is None:
        return "run"
    if run.state == "finished":
        return "nothing"
    if state_shown(run) in ACTIVE_STATES:
        return "patience"
    return "resume" if resumable(run) else "run"


def reconcile(database: Path, statuses: Sequence[RunStatus], label: str) -> list[str]:
    """Resume interrupted runs, queue missing ones; return every run's id, in the plan's order.

    Raises:
        MissingError: a file of a workload does not exist, or the database cannot be written.
        UsageError: one of them was resumed by another process at the same time.
    """
    ids: dict[int, str] = {}
    for index, status in enumerate(statuses):
        if status.run is not None and status.need != "run":
            ids[index] = status.run.id
            if status.need == "resume":
                resume(database, status.run)
    missing = [index for index, status in enumerate(statuses) if index not in ids]
    new = enqueue(database, [statuses[index].resolved for index in missing], sweep=label) if missing else []
    ids |= dict(zip(missing, new, strict=True))
    return [ids[index] for index in range(len(statuses))]
