"""The two summary scores of a set of tasks (the study's Table 1 and the course's leaderboard)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def dev_average(values: Sequence[float | None]) -> float | None:
    """Return the plain mean of the tasks' metrics: Table 1's "Dev Avg". None where one does not exist."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def leaderboard(values: Mapping[str, tuple[str, float | None]]) -> float | None:
    """Return the mean with each Pearson r mapped to 0..1 first: (SST + paraphrase + (STS + 1) / 2) / 3.

    Args:
        values: (metric, value) of each task.
    """
    return dev_average(
        [(value + 1) / 2 if metric == "pearson" and value is not None else value for metric, value in values.values()]
    )
