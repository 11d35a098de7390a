"""Runs and comparisons as JSON-compatible values for `--json`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from peftbench.analysis.comparability import Mixed, SettingDifference, Standing
from peftbench.analysis.comparison import Against, Comparison
from peftbench.analysis.cost import cost, reach
from peftbench.analysis.flags import flags
from peftbench.analysis.groups import Spread
from peftbench.analysis.scores import headlines, summary
from peftbench.analysis.stats.difference import MetricDifference
from peftbench.jobs.liveness import state_shown
from peftbench.memory.parts import score
from peftbench.report.memory import anatomies
from peftbench.report.task import TaskScores, task_scores
from peftbench.report.verdicts import verdict
from peftbench.store.listing import Listed
from peftbench.store.rows import Run, RunRecord, UnreadableRun

_STORED_AS_JSON = "spec_json"
# The values of `standing` in the output of `compare --json`, which programs of users read.
_PRINTED: dict[Standing, str] = {
    "confounding": "unfair",
    "intended": "studied",
    "irrelevant": "harmless",
    "implied": "implied",
    "same": "same",
}


def run_summary(run: Run) -> dict[str, Any]:
    """Return a run's row with its spec, and the metric of each task's scores."""
    values = dataclasses.asdict(run)
    values["spec"] = json.loads(values.pop(_STORED_AS_JSON))
    values["headlines"] = headlines(run)
    values["state"] = state_shown(run)
    return values


def listed_summary(run: Listed, spec: bool) -> dict[str, Any]:
    """Return a run as listed by `runs --json`, with its spec if requested; an unreadable one with the reason."""
    if isinstance(run, UnreadableRun):
        return unreadable(run)
    values = run_summary(run)
    if not spec:
        del values["spec"], values["origins"]
    return values


def unreadable(run: UnreadableRun) -> dict[str, Any]:
    """Return what is known of a run whose row cannot be read."""
    values = dataclasses.asdict(run)
    reason = values.pop("reason")
    return {**values, "state": "unreadable", "unreadable": reason}


class Counted(Iterator[Listed]):
    """Iterator over runs that keeps the last one returned in `last`."""

    def __init__(self, runs: Iterable[Listed]) -> None:
        self._runs = iter(runs)
        self.last: Listed | None = None

    def __next__(self) -> Listed:
        """Return the next run."""
        self.last = next(self._runs)
        return self.last


def run_full(
    record: RunRecord, targets: Sequence[tuple[float, str | None]] = (), tasks: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a run with its epochs, scores, phases and cost, as printed by `show --json` and `run --json`.

    `targets`: scores of a task (None: Dev Avg) for which the cost of reaching them is included. `tasks`: those whose
    metrics and classes are; the record then holds its predictions.
    """
    return {
        **run_summary(record.run),
        "cost": dataclasses.asdict(cost(record)),
        "flags": [dataclasses.asdict(flag) for flag in flags(record)],
        "memory_error": _memory_error(record.run),
        **({"reached": [_reached(record, *target) for target in targets]} if targets else {}),
        **({"tasks": [_task(scores) for task in tasks for scores in task_scores(record, task)]} if tasks else {}),
        "epochs": [dataclasses.asdict(row) for row in record.epochs],
        "scores": [dataclasses.asdict(row) for row in record.scores],
        "interim": [dataclasses.asdict(row) for row in record.interim],
        "task_bests": [dataclasses.asdict(row) for row in record.task_bests],
        "phases": [dataclasses.asdict(row) for row in record.phases],
        "events": [dataclasses.asdict(row) for row in record.events],
    }


def _task(scores: TaskScores) -> dict[str, Any]:
    metrics = {name: {"value": value, "reason": reason} for name, value, reason in scores.metrics}
    return {**dataclasses.asdict(scores), "headline": scores.metrics[0][0], "metrics": metrics}


def comparison(result: Comparison) -> dict[str, Any]:
    """Return a comparison as printed by `compare --json`; the first group is the baseline. Values are unrounded."""
    return {
        "baseline": result.groups[0].label,
        "split": result.split,
        "metrics": list(result.metrics),
        "headlines": headlines(result.groups[0].first),
        "groups": [_group(result, index) for index in range(len(result.groups))],
        "runs": [
            {
                **run_summary(record.run),
                "flags": [dataclasses.asdict(flag) for flag in flags(record)],
                "dev": {task: _score(record, task, "dev") for task in record.tasks},
                **_tested(record),
            }
            for record in result.records
        ],
        "differences": [_setting(each) for each in result.differences],
        "against_baseline": [_against(result, each) for each in result.against],
    }


def _group(result: Comparison, index: int) -> dict[str, Any]:
    group, spent = result.groups[index], result.spendings[index]
    return {
        "label": group.label,
        "runs": list(group.ids),
        "seeds": list(group.seeds),
        "scores": {name: _as_dict(value) for name, value in result.scores[index].items()},
        "cost": {name: _as_dict(value) for name, value in spent.figures.items()},
        "its": {name: _as_dict(value) for name, value in spent.its.items()},
        "costs": [dataclasses.asdict(each) for each in spent.costs],
        "dynamics": dataclasses.asdict(result.dynamics[index]),
        "best_in": sorted(name for name, indices in result.best.items() if index in indices),
    }


def _against(result: Comparison, each: Against) -> dict[str, Any]:
    return {
        "group": each.group.label,
        "said": verdict(result, each),
        "metrics": [{**dataclasses.asdict(row), "noise": _noise(row), "verdict": row.verdict} for row in each.metrics],
        "costs": [{**dataclasses.asdict(row), "within_noise": row.within_noise} for row in each.costs],
        "not_compared": dict(each.left_out),
    }


def _noise(row: MetricDifference) -> dict[str, Any]:
    """Return the noise estimate with infinite degrees of freedom as null: JSON has no infinity."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in dataclasses.asdict(row.noise).items()
    }


def _setting(each: SettingDifference) -> dict[str, Any]:
    values = [list(value.values) if isinstance(value, Mixed) else value for value in each.values]
    mixed = [isinstance(value, Mixed) for value in each.values]
    standing = _PRINTED[each.standing]
    return {"key": each.key, "values": values, "mixed": mixed, "standing": standing, "unfair": each.confounding}


def _as_dict(value: Spread | None) -> dict[str, Any] | None:
    return None if value is None else dataclasses.asdict(value)


def _memory_error(run: Run) -> dict[str, float | None] | None:
    predicted, measured = anatomies(run)
    return score(predicted, measured) if predicted and measured else None


def _reached(record: RunRecord, target: float, task: str | None) -> dict[str, Any]:
    reached = reach(record, target, task)
    return {"target": target, "task": task, **({"epoch": None} if reached is None else dataclasses.asdict(reached))}


def _tested(record: RunRecord) -> dict[str, Any]:
    scores = {task: score for task in record.tasks if (score := _score(record, task, "test")) is not None}
    return {"test": scores, "test_avg": summary(record, "test")[0]} if scores else {}


def _score(record: RunRecord, task: str, split: str) -> dict[str, Any] | None:
    score = record.score(task, split)
    return None if score is None else dataclasses.asdict(score)
