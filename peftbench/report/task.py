"""One task of a run, from its stored predictions: every metric that applies, and the table of its classes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from peftbench import formatting
from peftbench.analysis.outputs import Values, names_of, outputs_for, values
from peftbench.metrics import METRICS, TaskKind, headline_for, metrics_for
from peftbench.report.plain_table import plain_table
from peftbench.store.conditions import label_threshold
from peftbench.store.rows import Prediction, RunRecord, ScoredSplit
from peftbench.text import clean

if TYPE_CHECKING:
    from peftbench.metrics.value import Metric

_COLUMNS = ("name", "precision", "recall", "f1", "support", "predicted")
_ONE_LABEL = ("classes", "binary")  # with one label an example micro F1 is accuracy


@dataclass(frozen=True, slots=True)
class TaskScores:
    """A task's scores on one split at the best epoch.

    `metrics`: name, value and, where it is undefined, the reason; the headline comes first. `classes`: a row for each
    class with `name`, `precision`, `recall`, `f1`, `support` and `predicted`; empty for tasks of scores. `threshold`:
    above which probability a label was predicted; None for kinds that have none.
    """

    task: str
    split: ScoredSplit
    epoch: int
    examples: int
    metrics: tuple[tuple[str, float | None, str | None], ...]
    classes: tuple[dict[str, Any], ...]
    threshold: float | None = None


def task_scores(record: RunRecord, task: str) -> list[TaskScores]:
    """Return a task's scores on dev and, where the run has one, test; from predictions that the record holds."""
    splits: tuple[ScoredSplit, ...] = ("dev", "test")
    return [_scores(record, task, split, rows) for split in splits if (rows := record.predictions_on(split).get(task))]


def task_page(record: RunRecord, task: str) -> RenderableType:
    """Return the scores of a task as tables."""
    scores = task_scores(record, task)
    if not scores:
        return Text(f"{clean(task)}: no predictions are stored (no epoch has finished)")
    parts: list[RenderableType] = [_metrics_table(scores)]
    if scores[0].threshold not in (None, 0.5):
        tuned = " (tuned on dev)" * (_spec(record, task)["threshold"] == "tuned")
        parts += [Text(f"  a label is predicted above a probability of {scores[0].threshold:g}{tuned}", style="dim")]
    for each in scores:
        if each.classes:
            parts += [
                Text(""),
                Text(f"classes on {each.split}, epoch {each.epoch}", style="bold"),
                _classes_table(each),
            ]
    reasons = dict.fromkeys(
        f"{METRICS[name].label} on {each.split}: {reason}"
        for each in scores
        for name, _, reason in each.metrics
        if reason is not None
    )
    parts += [Text(""), *(Text(f"no {line}", style="dim") for line in reasons)] if reasons else []
    return Group(*parts)


def _scores(record: RunRecord, task: str, split: ScoredSplit, rows: tuple[Prediction, ...]) -> TaskScores:
    from peftbench.metrics.per_class import per_class, per_span_type

    spec = _spec(record, task)
    kind: TaskKind = spec["kind"]
    classes = kind not in ("similarity", "regression")
    labels = values(record, task, [row.label for row in rows])
    predictions = values(record, task, [row.prediction for row in rows])
    stored = record.score(task, split)
    headline = stored.metric if stored is not None else headline_for(kind)
    names = [headline, *(name for name in metrics_for(kind) if name != headline)]
    names = [name for name in names if name != "micro_f1" or kind not in _ONE_LABEL]
    outputs = {name: outputs_for(name, record, task, rows) for name in names}
    made = [_value(name, labels, outputs[name]) for name in names if outputs[name] is not None]
    table: list[dict[str, Any]] = []
    if classes:
        with suppress(ValueError):  # values that are no classes, in a row that was changed: the metrics say which
            classes_named = names_of(record, task) or spec.get("classes") or 2
            tokens = kind == "tokens"
            rows_of = per_span_type(labels, predictions) if tokens else per_class(labels, predictions, classes_named)
            table = [{field: getattr(row, field) for field in _COLUMNS} for row in rows_of]
    metrics = tuple((each.name, each.value, each.reason) for each in made)
    threshold = _threshold(record, spec, rows[0].epoch)
    return TaskScores(task, split, rows[0].epoch, len(rows), metrics, tuple(table), threshold)


def _spec(record: RunRecord, task: str) -> dict[str, Any]:
    spec: dict[str, Any] = next(each for each in record.run.spec["tasks"] if each["name"] == task)
    return spec


def _threshold(record: RunRecord, spec: dict[str, Any], epoch: int) -> float | None:
    if spec["kind"] not in ("binary", "multilabel"):
        return None
    return label_threshold(record.run.conditions, spec["name"], spec.get("threshold", 0.5), epoch)


def _value(name: str, labels: Values, predictions: Values) -> Metric:
    from peftbench.metrics.value import Metric, value

    try:
        return value(name, labels, predictions)
    except ValueError as error:
        return Metric(name, None, clean(error, 200))


def _metrics_table(scores: list[TaskScores]) -> RenderableType:
    heads = ("metric", *(f"{each.split} ({each.examples:,})" for each in scores))
    rows = []
    for at, (name, _, _) in enumerate(scores[0].metrics):
        mark = " *" if at == 0 else ""
        rows.append((f"{METRICS[name].label}{mark}", *(formatting.score(each.metrics[at][1]) for each in scores)))
    return Group(plain_table(heads, rows), Text("  *: the headline: it chose the epoch, and is compared", style="dim"))


def _classes_table(scores: TaskScores) -> RenderableType:
    heads = ("class", "precision", "recall", "F1", "support", "predicted")
    rows = [
        (
            clean(row["name"], 40),
            *(formatting.score(row[key]) for key in ("precision", "recall", "f1")),
            f"{row['support']:,}",
            f"{row['predicted']:,}",
        )
        for row in scores.classes
    ]
    return plain_table(heads, rows)
