"""How long a run took by the clock on the wall."""

from __future__ import annotations

from datetime import datetime

from peftbench.store.rows import Run


def elapsed_s(run: Run) -> float | None:
    """Return the seconds from a run's start to its end; None where it has none, or the clock was put back between."""
    if run.started_at is None or run.finished_at is None:
        return None
    try:
        started, finished = datetime.fromisoformat(run.started_at), datetime.fromisoformat(run.finished_at)
        took = (finished - started).total_seconds()
    except (ValueError, TypeError):  # no time, or one without a zone
        return None
    return took if took > 0 else None
