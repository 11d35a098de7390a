"""The two summary scores of a set of tasks (the study's Table 1 and the course's leaderboard)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

OF_LEADERBOARD = ("sst", "paraphrase", "sts")


def dev_average(values: Sequence[float | None]) -> float | None:
    """Return the mean of the tasks' metrics, "Dev Avg" in Table 1; None where one is missing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def has_leaderboard(tasks: Collection[str]) -> bool:
    """Tell whether the leaderboard's score is defined: it needs all three tasks of the course."""
    return all(task in tasks for task in OF_LEADERBOARD)


def leaderboard(values: Mapping[str, tuple[str, float | None]]) -> float | None:
    """Return (SST + paraphrase + (STS + 1) / 2) / 3: Pearson r is mapped to 0..1 first.

    None where one of the three is missing; other tasks are ignored.

    Args:
        values: (metric, value) of each task.
    """
    if not has_leaderboard(values):
        return None
    three = [values[task] for task in OF_LEADERBOARD]
    return dev_average(
        [(value + 1) / 2 if metric == "pearson" and value is not None else value for metric, value in three]
    )
