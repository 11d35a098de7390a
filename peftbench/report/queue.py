"""The queue as a page: active runs with their progress, queued runs with their predicted time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from peftbench import formatting
from peftbench.analysis.forecast import RunForecast, total
from peftbench.jobs.liveness import seconds_since, state_shown
from peftbench.report.plain_table import plain_table
from peftbench.report.sweep import total_in_words
from peftbench.report.tables import STATE_STYLE
from peftbench.store.rows import Progress, Run
from peftbench.text import clean


def queue_page(
    runs: Sequence[Run], progress: Mapping[str, Progress | None], predicted: Mapping[str, RunForecast]
) -> list[str | Table]:
    """Return the unfinished runs in the order in which they are or will be executed.

    Args:
        runs: active runs, then the queued ones in order.
        progress: progress of each run by id, if known.
        predicted: predicted time of each queued run, by id.
    """
    parts: list[str | Table] = [_table(runs, progress, predicted)]
    waiting = Counter(clean(run.sweep, 60) for run in runs if run.sweep and run.id in predicted)
    parts += [f"{sweep}: {count} queued" for sweep, count in waiting.items()]
    if predicted:
        parts.append(f"time for queued runs: {total_in_words(total(list(predicted.values())))}")
    return parts


def _table(runs: Sequence[Run], progress: Mapping[str, Progress | None], predicted: Mapping[str, RunForecast]) -> Table:
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
                formatting.seconds(seconds_since(run.state_at)),
                f"{run.epochs_done}/{run.epochs_planned}",
                _predicted_text(predicted[run.id]) if run.id in predicted else _progress_text(progress.get(run.id)),
            )
        )
    return plain_table(("", "run", "id", "state", "since", "epochs", "progress"), rows, left=4)


def _predicted_text(predicted: RunForecast) -> str:
    return "" if predicted.wall_s is None else f"takes about {formatting.seconds(predicted.wall_s)}"


def _progress_text(progress: Progress | None) -> str:
    if progress is None:
        return ""
    its = f" {progress.its:.1f} it/s" if progress.its else ""
    return f"{progress.phase} {clean(progress.task or '', 12)} {progress.step}/{progress.steps}{its}"
