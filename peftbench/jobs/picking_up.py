"""Planned runs held against what a store has of them: which are done, which go on, which are still to be made."""

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
class Standing:
    """A planned run, the newest stored one of its spec (seed included), and what it still needs."""

    resolved: Resolved
    run: Run | None
    need: Need


def standings(planned: Sequence[Resolved], stored: Iterable[Run]) -> list[Standing]:
    """Return how each planned run stands. A finished run counts before a newer one that did not finish.

    Args:
        planned: what there is to be.
        stored: all runs, the newest first.
    """
    newest: dict[str, Run] = {}
    for run in stored:
        before = newest.get(run.spec_hash)
        if before is None or (run.state == "finished" and before.state != "finished"):
            newest[run.spec_hash] = run
    found = []
    for resolved in planned:
        known = newest.get(resolved.spec.hash())
        found.append(Standing(resolved, known, _need(known)))
    return found


def _need(run: Run | None) -> Need:
    if run is None:
        return "run"
    if run.state == "finished":
        return "nothing"
    if state_shown(run) in ACTIVE_STATES:
        return "patience"
    return "resume" if resumable(run) else "run"


def pick_up(database: Path, found: Sequence[Standing], label: str) -> list[str]:
    """Resume what was interrupted, queue what is not there; return every run's id, in the plan's order.

    Raises:
        MissingError: a file of a workload is not there, or the database cannot be written.
        UsageError: somebody else resumed one of them at the same time.
    """
    ids: dict[int, str] = {}
    for place, one in enumerate(found):
        if one.run is not None and one.need != "run":
            ids[place] = one.run.id
            if one.need == "resume":
                resume(database, one.run)
    missing = [place for place, one in enumerate(found) if place not in ids]
    new = enqueue(database, [found[place].resolved for place in missing], sweep=label) if missing else []
    ids |= dict(zip(missing, new, strict=True))
    return [ids[place] for place in range(len(found))]
