"""The queue as a page: what runs and where it stands, what waits and how long it will take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from peftbench.analysis.forecast import Predicted, total
from peftbench.jobs.liveness import seconds_since, state_shown
from peftbench.report import figures
from peftbench.report.layout import plain_table
from peftbench.report.sweep import total_in_words
from peftbench.report.tables import STATE_STYLE
from peftbench.store.rows import Progress, Run
from peftbench.text import clean


def queue_page(
    runs: Sequence[Run], progress: Mapping[str, Progress | None], predicted: Mapping[str, Predicted]
) -> list[str | Table]:
    """Return the runs that have not ended, in the order in which they are or will be worked on.

    Args:
        runs: those with a worker, then the queue in its order.
        progress: of each run by id, where there is any.
        predicted: the time that each queued run will take, by id.
    """
    parts: list[str | Table] = [_table(runs, progress, predicted)]
    waiting = Counter(clean(run.sweep, 60) for run in runs if run.sweep and run.id in predicted)
    parts += [f"{sweep}: {count} {'wait' if count > 1 else 'waits'}" for sweep, count in waiting.items()]
    if predicted:
        parts.append(f"what waits will take: {total_in_words(total(list(predicted.values())))}")
    return parts


def _table(runs: Sequence[Run], progress: Mapping[str, Progress | None], predicted: Mapping[str, Predicted]) -> Table:
    rows: list[tuple[str | Text, ...]] = []
    turn = 0
    for run in runs:
        state = state_shown(run)
        turn += run.id in predicted
        rows.append(
            (
                str(turn) if run.id in predicted else "",
                clean(run.name, 24),
                run.id,
                Text(state, style=STATE_STYLE.get(state, "")),
                figures.seconds(seconds_since(run.state_at)),
                f"{run.epochs_done}/{run.epochs_planned}",
                _takes(predicted[run.id]) if run.id in predicted else _where(progress.get(run.id)),
            )
        )
    return plain_table(("", "run", "id", "state", "since", "epochs", "at"), rows, left=4)


def _takes(predicted: Predicted) -> str:
    return "" if predicted.wall_s is None else f"takes about {figures.seconds(predicted.wall_s)}"


def _where(progress: Progress | None) -> str:
    if progress is None:
        return ""
    its = f" {progress.its:.1f} it/s" if progress.its else ""
    return f"{progress.phase} {clean(progress.task or '', 12)} {progress.step}/{progress.steps}{its}"
