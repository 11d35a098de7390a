"""Stored labels and predictions in the form that metrics are computed from, by the kind of a run's task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peftbench.errors import DataError
from peftbench.metrics import METRICS
from peftbench.store.conditions import label_names
from peftbench.store.rows import Label, Prediction, RunRecord
from peftbench.text import clean

Values = Any  # an array [n], of several labels [n, labels] of bool, or of tokens the tags' names by sentence


def names_of(record: RunRecord, task: str) -> tuple[str, ...] | None:
    """Return the names of a task's classes, labels or tags; None where they are numbers."""
    return label_names(record.run.conditions, task, _spec(record, task).get("labels"))


def outputs_for(metric: str, record: RunRecord, task: str, rows: Sequence[Prediction]) -> Values | None:
    """Return what a metric is computed from beside the labels: predictions, or probabilities of labels.

    None: the metric needs probabilities, and the run, of an earlier version, has none.
    """
    import numpy as np

    if not METRICS[metric].of_probabilities:
        return values(record, task, [row.prediction for row in rows])
    stored = [row.probabilities for row in rows]
    return None if any(each is None for each in stored) else np.asarray(stored, dtype=np.float64)


def values(record: RunRecord, task: str, stored: Sequence[Label]) -> Values:
    """Return stored labels, or predictions, in the form that metrics are computed from.

    Raises:
        DataError: they are not of the task's kind, in a database that was changed.
    """
    try:
        return _values(record, task, stored)
    except (IndexError, TypeError, ValueError) as error:
        raise DataError(
            f"run {clean(record.run.name)}: its stored labels and predictions of {clean(task)} cannot be read: "
            f"{clean(error, 120)}",
            "were they edited? peftbench doctor checks the file",
        ) from error


def _values(record: RunRecord, task: str, stored: Sequence[Label]) -> Values:
    import numpy as np

    kind = _spec(record, task)["kind"]
    if kind == "tokens":
        names = names_of(record, task)
        if names is None:
            raise ValueError("the run has no record of its tags")
        return [[names[tag] for tag in _several(each)] for each in stored]
    if kind == "multilabel":
        chosen = np.zeros((len(stored), _spec(record, task).get("classes") or 1), bool)
        for row, each in enumerate(stored):
            chosen[row, list(_several(each))] = True
        return chosen
    return np.asarray(stored, dtype=np.float64)


def stacked(runs: Sequence[Values]) -> Values:
    """Return the predictions of several runs in the form of `metrics.weighted`."""
    import numpy as np

    return np.stack(runs) if isinstance(runs[0], np.ndarray) else list(runs)


def _spec(record: RunRecord, task: str) -> dict[str, Any]:
    spec: dict[str, Any] = next(each for each in record.run.spec["tasks"] if each["name"] == task)
    return spec


def _several(label: Label) -> tuple[int, ...]:
    if not isinstance(label, tuple):
        raise ValueError("a label that is one number, of a task with several")
    return label
