"""Summary scores of a set of tasks (the study's Table 1 and the course's leaderboard), and the split they are of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from peftbench.store.rows import RunRecord, ScoredSplit

DEV_AVG, TEST_AVG = "dev_avg", "test_avg"  # in place of a task: the mean of the tasks' metrics
AVERAGES: dict[ScoredSplit, str] = {"dev": DEV_AVG, "test": TEST_AVG}
OF_LEADERBOARD = {"sst": "accuracy", "paraphrase": "accuracy", "sts": "pearson"}  # task: its metric


def dev_average(values: Sequence[float | None]) -> float | None:
    """Return the mean of the tasks' metrics, "Dev Avg" in Table 1; None where one is missing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def scored_split(records: Iterable[RunRecord]) -> ScoredSplit:
    """Return the split on which runs are compared: test where every run scored all its tasks on it, else dev."""
    runs = list(records)
    tested = all(record.score(task, "test") is not None for record in runs for task in record.tasks)
    return "test" if runs and tested else "dev"


def summary(record: RunRecord, split: ScoredSplit) -> tuple[float | None, float | None]:
    """Return the mean of the tasks' metrics and the leaderboard's score, at a run's best epoch."""
    if split == "dev":
        return record.run.dev_avg, record.run.leaderboard
    scores = {task: score for task in record.tasks if (score := record.score(task, split)) is not None}
    values = {task: (score.metric, score.value) for task, score in scores.items()}
    return dev_average([score.value for score in scores.values()]), leaderboard(values)


def has_leaderboard(tasks: Collection[str]) -> bool:
    """Tell whether the leaderboard's score is defined: it needs all three tasks of the course."""
    return all(task in tasks for task in OF_LEADERBOARD)


def leaderboard(values: Mapping[str, tuple[str, float | None]]) -> float | None:
    """Return (SST + paraphrase + (STS + 1) / 2) / 3: Pearson r is mapped to 0..1 first.

    None where one of the three is missing or has another metric; other tasks are ignored.

    Args:
        values: (metric, value) of each task.
    """
    if not has_leaderboard(values) or any(values[task][0] != metric for task, metric in OF_LEADERBOARD.items()):
        return None
    three = [values[task] for task in OF_LEADERBOARD]
    return dev_average(
        [(value + 1) / 2 if metric == "pearson" and value is not None else value for metric, value in three]
    )
