"""What scores are of: each task's headline metric, and the split. Every output names them with these functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from peftbench import formatting
from peftbench.analysis.groups import Group, records_of
from peftbench.analysis.scores import AVERAGES, DEV_AVG, TEST_AVG, headlines
from peftbench.metrics import averaged, sign_of
from peftbench.store.rows import Run
from peftbench.text import clean

_MOST_LISTED = 4  # different sets of metrics in the note on a list of runs
_AVERAGES = {DEV_AVG: "Dev Avg", TEST_AVG: "Test Avg"}


def metrics_of(runs: Iterable[Run]) -> str:
    """Return the headline metrics of runs: `accuracy`, `accuracy, Pearson r of sts`."""
    return formatting.metrics(_labels(runs))


def metric_name(name: str) -> str:
    """Return the name of a metric in sentences: its task, Dev Avg or Test Avg."""
    return _AVERAGES.get(name) or clean(name)


def named(name: str, groups: Iterable[Group], split: str = "") -> str:
    """Return a metric of groups for a title: `sst accuracy`, `sst accuracy on test`, `Test Avg`."""
    if name in _AVERAGES:
        return _AVERAGES[name]
    return task_named(name, _runs(groups)) + (f" on {split}" if split else "")


def task_named(task: str, runs: Iterable[Run]) -> str:
    """Return a task with its metric: `sst accuracy`."""
    return f"{clean(task)} {_labels(runs).get(task, '')}".rstrip()


def average_notes(name: str, groups: Iterable[Group]) -> tuple[str, ...]:
    """Return the note that says what an average is the mean of; none where `name` is a task."""
    if name not in _AVERAGES:
        return ()
    runs = _runs(groups)
    labels, inside = _labels(runs), _in_average(runs)
    words = formatting.metrics({task: label for task, label in labels.items() if task in inside})
    left_out = [clean(task) for task in labels if task not in inside]
    without = f" without {' and '.join(left_out)}" if left_out else ""
    return (f"{_AVERAGES[name]}: mean of the tasks{without} ({words})",)


def list_note(runs: Iterable[Run]) -> str:
    """Return what the averages in a list of runs are of, with the workloads where they are not all of the same."""
    workloads: dict[str, dict[str, None]] = {}
    seen = set[tuple[str, str]]()
    for run in runs:
        if (key := (run.workload, run.group_hash)) not in seen:
            seen.add(key)
            workloads.setdefault(formatting.metrics(_labels([run])), {})[clean(run.workload, 24)] = None
    known = [(words, of) for words, of in workloads.items() if words]
    if not known:
        return ""
    listed = [words if len(known) == 1 else f"{words} ({', '.join(of)})" for words, of in known[:_MOST_LISTED]]
    more = ["others: peftbench show RUN"] if len(known) > _MOST_LISTED else []
    return f"dev avg: mean of the tasks at the best epoch; {'; '.join((*listed, *more))}"


def scores_line(run: Run) -> str:
    """Return what a run's scores are of: `scores: accuracy, Pearson r of sts; Dev Avg their mean`."""
    return f"scores: {scored([run], (DEV_AVG,) if len(headlines(run)) > 1 else ())}"


def scored(runs: Iterable[Run], names: Collection[str]) -> str:
    """Return what the scores `names` are of: the tasks' metrics, and that an average among them is their mean."""
    runs = list(runs)
    averages = [_AVERAGES[name] for name in AVERAGES.values() if name in names]
    labels = _labels(runs)
    shown = labels if averages or not names else {task: label for task, label in labels.items() if task in names}
    of = "the mean of those that are no errors" if _in_average(runs) != set(labels) else "their mean"
    return "; ".join((formatting.metrics(shown), *(f"{average} {of}" for average in averages)))


def _in_average(runs: Iterable[Run]) -> set[str]:
    """Return the tasks that have a part in the average of any of the runs."""
    return {task for run in runs for task in averaged(headlines(run))}


def _runs(groups: Iterable[Group]) -> list[Run]:
    return [record.run for record in records_of(groups)]


def _labels(runs: Iterable[Run]) -> Mapping[str, str]:
    """Return the display name of each task's metric, or of several where runs differ."""
    labels: dict[str, dict[str, None]] = {}
    for run in runs:
        for task, name in headlines(run).items():
            lower = " (lower is better)" if sign_of(name) < 0 else ""
            labels.setdefault(task, {})[formatting.metric(name) + lower] = None
    return {task: " / ".join(of) for task, of in labels.items()}
