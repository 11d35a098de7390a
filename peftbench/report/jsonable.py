"""Runs and comparisons as plain values for `--json`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from peftbench.analysis.comparison import Comparison
from peftbench.analysis.quality import flags
from peftbench.analysis.resources import cost, reach
from peftbench.anatomy.parts import score
from peftbench.jobs.liveness import state_shown
from peftbench.report.anatomy import anatomies
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
    """A comparison as `compare --json` prints it; the first run is the baseline."""
    return {
        "runs": [
            {
                **run_summary(record.run),
                "cost": dataclasses.asdict(spent),
                "flags": [dataclasses.asdict(flag) for flag in flags(record)],
                "dev": {task: _score(record, task) for task in record.tasks},
            }
            for record, spent in zip(result.records, result.costs, strict=True)
        ],
        "differences": [dataclasses.asdict(difference) for difference in result.differences],
        "against_baseline": {
            record.run.id: [{**dataclasses.asdict(row), "verdict": row.verdict} for row in rows]
            for record, rows in zip(result.records[1:], result.against, strict=True)
        },
    }


def _memory_error(run: Run) -> dict[str, float | None] | None:
    predicted, measured = anatomies(run)
    return score(predicted, measured) if predicted and measured else None


def _reached(record: RunRecord, target: float, task: str | None) -> dict[str, Any]:
    found = reach(record, target, task)
    return {"target": target, "task": task, **({"epoch": None} if found is None else dataclasses.asdict(found))}


def _score(record: RunRecord, task: str) -> dict[str, Any] | None:
    score = record.score(task)
    return None if score is None else dataclasses.asdict(score)
