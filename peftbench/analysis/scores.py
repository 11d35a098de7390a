"""Summary scores of a set of tasks (the study's Table 1 and the course's leaderboard), and the split they are of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from peftbench.metrics import averaged, headline_for, sign_of
from peftbench.store.rows import Run, RunRecord, ScoredSplit

Scores = Mapping[str, tuple[str, float | None]]  # by task: its headline metric, and its value

DEV_AVG, TEST_AVG = "dev_avg", "test_avg"  # in place of a task: the mean of the tasks' metrics
AVERAGES: dict[ScoredSplit, str] = {"dev": DEV_AVG, "test": TEST_AVG}
OF_LEADERBOARD = {"sst": "accuracy", "paraphrase": "accuracy", "sts": "pearson"}  # task: its metric


def mean_of(values: Sequence[float | None]) -> float | None:
    """Return the mean of values; None where one is missing, or there are none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def average_of(scores: Scores) -> float | None:
    """Return the mean of the tasks' headline metrics, "Dev Avg" in Table 1; None where one is missing.

    Errors (of which lower is better) are left out; a single task's average is its metric, even of an error.
    """
    return mean_of([scores[task][1] for task in averaged({task: metric for task, (metric, _) in scores.items()})])


def average_sign(signs: Collection[int]) -> int:
    """Return -1 where lower values of a run's average are better: its one task is judged by an error."""
    return min(signs, default=1) if len(signs) == 1 else 1


def headlines(run: Run) -> dict[str, str]:
    """Return the headline metric of each of a run's tasks, in the workload's order; a spec without tasks has none."""
    tasks = [task for task in run.spec.get("tasks", ()) if task.get("metric") or task.get("kind")]
    return {task["name"]: task.get("metric") or headline_for(task["kind"]) for task in tasks}


def run_sign(run: Run) -> int:
    """Return -1 where lower values of a run's average are better."""
    return average_sign([sign_of(metric) for metric in headlines(run).values()])


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
    return average_of(values), leaderboard(values)


def has_leaderboard(tasks: Collection[str]) -> bool:
    """Tell whether the leaderboard's score is defined: it needs all three tasks of the course."""
    return all(task in tasks for task in OF_LEADERBOARD)


def leaderboard(values: Scores) -> float | None:
    """Return (SST + paraphrase + (STS + 1) / 2) / 3: Pearson r is mapped to 0..1 first.

    None where one of the three is missing or has another metric; other tasks are ignored.

    Args:
        values: (metric, value) of each task.
    """
    if not has_leaderboard(values) or any(values[task][0] != metric for task, metric in OF_LEADERBOARD.items()):
        return None
    three = [values[task] for task in OF_LEADERBOARD]
    return mean_of([(value + 1) / 2 if metric == "pearson" and value is not None else value for metric, value in three])
