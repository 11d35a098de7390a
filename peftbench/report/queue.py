"""The queue as a table: what runs, where it stands, and what waits for its turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from peftbench.jobs.liveness import seconds_since, state_shown
from peftbench.report import figures
from peftbench.report.layout import plain_table
from peftbench.report.tables import STATE_STYLE
from peftbench.store.rows import Progress, Run
from peftbench.text import clean


def queue_table(runs: Sequence[Run], progress: Mapping[str, Progress | None]) -> Table:
    """Return the runs that have not ended, in the order in which they are, or will be, worked on."""
    waiting = 0
    rows = []
    for run in runs:
        state = state_shown(run)
        waiting += state == "queued"
        rows.append(
            (
                str(waiting) if state == "queued" else "",
                clean(run.name, 24),
                run.id,
                clean(run.workload, 14),
                Text(state, style=STATE_STYLE.get(state, "")),
                figures.seconds(seconds_since(run.state_at)),
                f"{run.epochs_done}/{run.epochs_planned}",
                _where(progress.get(run.id)),
                clean(run.sweep or "", 20),
            )
        )
    return plain_table(("", "run", "id", "workload", "state", "since", "epochs", "at", "sweep"), rows, left=5)


def _where(progress: Progress | None) -> str:
    if progress is None:
        return ""
    its = f" {progress.its:.1f} it/s" if progress.its else ""
    return f"{progress.phase} {clean(progress.task or '', 12)} {progress.step}/{progress.steps}{its}"
