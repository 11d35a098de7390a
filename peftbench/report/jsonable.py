"""Runs and comparisons as plain values for `--json`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

from peftbench.analysis.comparability import Difference, Mixed
from peftbench.analysis.comparison import Against, Comparison
from peftbench.analysis.difference import MetricDifference
from peftbench.analysis.groups import Spread
from peftbench.analysis.quality import flags
from peftbench.analysis.resources import cost, reach
from peftbench.anatomy.parts import score
from peftbench.jobs.liveness import state_shown
from peftbench.report.anatomy import anatomies
from peftbench.report.verdicts import verdict
from peftbench.store.rows import Run, RunRecord

_STORED_AS_JSON = "spec_json"


def run_summary(run: Run) -> dict[str, Any]:
    """A run as `runs --json` lists it."""
    values = dataclasses.asdict(run)
    values["spec"] = json.loads(values.pop(_STORED_AS_JSON))
    values["state"] = state_shown(run)
    return values


def run_full(record: RunRecord, targets: Sequence[tuple[float, str | None]] = ()) -> dict[str, Any]:
    """A run with its epochs, scores, phases and cost, as `show --json` and `run --json` print it.

    `targets` are scores, each of a task or (None) Dev Avg, of which to tell what it took to reach them.
    """
    return {
        **run_summary(record.run),
        "cost": dataclasses.asdict(cost(record)),
        "flags": [dataclasses.asdict(flag) for flag in flags(record)],
        "memory_error": _memory_error(record.run),
        **({"reached": [_reached(record, *target) for target in targets]} if targets else {}),
        "epochs": [dataclasses.asdict(row) for row in record.epochs],
        "scores": [dataclasses.asdict(row) for row in record.scores],
        "task_bests": [dataclasses.asdict(row) for row in record.task_bests],
        "phases": [dataclasses.asdict(row) for row in record.phases],
        "events": [dataclasses.asdict(row) for row in record.events],
    }


def comparison(result: Comparison) -> dict[str, Any]:
    """A comparison as `compare --json` prints it; the first group is the baseline. Figures are unrounded."""
    return {
        "baseline": result.groups[0].label,
        "metrics": list(result.metrics),
        "groups": [_group(result, place) for place in range(len(result.groups))],
        "runs": [
            {
                **run_summary(record.run),
                "flags": [dataclasses.asdict(flag) for flag in flags(record)],
                "dev": {task: _score(record, task) for task in record.tasks},
            }
            for record in result.records
        ],
        "differences": [_setting(each) for each in result.differences],
        "against_baseline": [_against(result, each) for each in result.against],
    }


def _group(result: Comparison, place: int) -> dict[str, Any]:
    one, spent = result.groups[place], result.spendings[place]
    return {
        "label": one.label,
        "runs": list(one.ids),
        "seeds": list(one.seeds),
        "scores": {name: _as_dict(value) for name, value in result.scores[place].items()},
        "cost": {name: _as_dict(value) for name, value in spent.figures.items()},
        "its": {name: _as_dict(value) for name, value in spent.its.items()},
        "costs": [dataclasses.asdict(each) for each in spent.costs],
        "dynamics": dataclasses.asdict(result.dynamics[place]),
        "best_in": sorted(name for name, places in result.best.items() if place in places),
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
    """JSON has no infinity: degrees of freedom that are, are null."""
    return {key: value if math.isfinite(value) else None for key, value in dataclasses.asdict(row.noise).items()}


def _setting(each: Difference) -> dict[str, Any]:
    values = [list(value.values) if isinstance(value, Mixed) else value for value in each.values]
    mixed = [isinstance(value, Mixed) for value in each.values]
    return {"key": each.key, "values": values, "mixed": mixed, "standing": each.standing, "unfair": each.unfair}


def _as_dict(value: Spread | None) -> dict[str, Any] | None:
    return None if value is None else dataclasses.asdict(value)


def _memory_error(run: Run) -> dict[str, float | None] | None:
    predicted, measured = anatomies(run)
    return score(predicted, measured) if predicted and measured else None


def _reached(record: RunRecord, target: float, task: str | None) -> dict[str, Any]:
    found = reach(record, target, task)
    return {"target": target, "task": task, **({"epoch": None} if found is None else dataclasses.asdict(found))}


def _score(record: RunRecord, task: str) -> dict[str, Any] | None:
    score = record.score(task)
    return None if score is None else dataclasses.asdict(score)
