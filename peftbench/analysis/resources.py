"""What a run cost, from its phases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from peftbench.store.rows import Phase, RunRecord


@dataclass(frozen=True, slots=True)
class Cost:
    """Time, throughput and memory of a run. `its` is optimiser steps a second inside `train` of one task.

    Warm-up, evaluation, checkpoints and the preparation of batches are not in `train_s`, nor is `prefix_s`, the one
    pass over what lies below the first trained layer; `run_s` has all.
    """

    train_s: float | None
    prefix_s: float | None
    eval_s: float | None
    load_s: float | None
    run_s: float | None
    its: dict[str, float]
    examples_per_s: float | None
    tokens_per_s: float | None
    step_ms_median: dict[str, float]
    peak_rss_mib: float | None


def cost(record: RunRecord) -> Cost:
    """Sum up a run's phases. What was not measured is None."""
    train = [phase for phase in record.phases if phase.phase == "train"]
    tasks = [task for task in record.tasks if any(phase.task == task for phase in train)]
    train_s = _sum(phase.wall_s for phase in train)
    peaks = [phase.peak_rss_mib for phase in record.phases if phase.peak_rss_mib is not None]
    medians = {
        task: _median([p.step_ms_median for p in train if p.task == task and p.step_ms_median is not None])
        for task in tasks
    }
    return Cost(
        train_s=train_s,
        prefix_s=_sum(phase.wall_s for phase in record.phases if phase.phase == "prefix"),
        eval_s=_sum(phase.wall_s for phase in record.phases if phase.phase == "eval"),
        load_s=_sum(phase.wall_s for phase in record.phases if phase.phase == "load"),
        run_s=_run_s(record),
        its={
            task: rate for task in tasks if (rate := _rate([p for p in train if p.task == task], "steps")) is not None
        },
        examples_per_s=_rate(train, "examples"),
        tokens_per_s=_rate(train, "tokens"),
        step_ms_median={task: value for task, value in medians.items() if value is not None},
        peak_rss_mib=max(peaks, default=None),
    )


def _sum(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) if found else None


def _rate(phases: list[Phase], counted: str) -> float | None:
    counts = [getattr(phase, counted) for phase in phases]
    wall_s = sum(phase.wall_s for phase in phases)
    return sum(counts) / wall_s if wall_s and None not in counts else None


def _median(values: list[float]) -> float | None:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if not ordered:
        return None
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _run_s(record: RunRecord) -> float | None:
    from datetime import datetime

    run = record.run
    if run.started_at is None or run.finished_at is None:
        return None
    return (datetime.fromisoformat(run.finished_at) - datetime.fromisoformat(run.started_at)).total_seconds()
