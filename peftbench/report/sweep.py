"""A planned sweep as text and as JSON: rows, skipped runs, order and predicted time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from peftbench import formatting
from peftbench.analysis.forecast import NOTHING_YET, PlannedRun, RunForecast, Total, total
from peftbench.report.plain_table import plain_table
from peftbench.spec.model import RunSpec
from peftbench.spec.sweep import SweepPlan
from peftbench.text import clean

_MOST_STARTS = 6


def plan_page(plan: SweepPlan, predicted: Sequence[RunForecast]) -> list[str | Table]:
    """Return the output of a dry run; `predicted` has one entry per run, in the plan's order."""
    labels = {run.label for run in plan.runs}
    title = f"sweep {plan.sweep.name} on workload {plan.workload}: {_count(len(plan.runs), 'run')}"
    return [
        clean(f"{title} ({_count(len(labels), 'row')}, {_seeds_in_words(plan.seeds)}{_folds_in_words(plan)})"),
        *([plan.sweep.description] if plan.sweep.description else []),
        "",
        _rows(plan, predicted),
        "",
        *notes(plan),
        f"order: {_order(plan)}",
        f"time: {total_in_words(total(predicted))}",
    ]


def notes(plan: SweepPlan) -> list[str]:
    """Return lines on the runs skipped by conditions and the combinations that are the same run."""
    lines = []
    if plan.left_out:
        left = Counter(run.label for run in plan.left_out)
        lines.append(f"skipped by [[skip]]: {_count(len(plan.left_out), 'run')} ({_some(left)})")
    if plan.repeated:
        pairs = dict.fromkeys(f"{run.label} is {run.same_as}" for run in plan.repeated)
        lines.append(f"the same spec twice, run once: {_count(len(plan.repeated), 'run')} ({_some(pairs)})")
    return lines


def wanted(spec: RunSpec) -> PlannedRun:
    """Return the properties of a planned run that its time depends on."""
    return PlannedRun(spec.group_hash(), spec.workload, spec.method.name, spec.train.epochs, spec.augmented_by)


def total_in_words(total: Total) -> str:
    """Return the predicted time of the runs one after another, as text."""
    if not total.known:
        return f"unknown: {NOTHING_YET}"
    if total.unknown:
        unknown = f"{total.unknown} of {_count(total.runs, 'run')} cannot be predicted"
        return f"at least {formatting.seconds(total.wall_s)}, one run after another ({unknown})"
    return f"about {formatting.seconds(total.wall_s)}, one run after another"


def plan_json(plan: SweepPlan, predicted: Sequence[RunForecast]) -> dict[str, Any]:
    """Return a plan as JSON-compatible values, with the runs in order."""
    overall = total(predicted)
    return {
        "sweep": plan.sweep.name,
        "description": plan.sweep.description,
        "path": str(plan.sweep.path),
        "workload": plan.workload,
        "seeds": list(plan.seeds),
        "runs": [
            {
                "label": run.label,
                "preset": run.resolved.spec.preset,
                "seed": run.seed,
                **_fold(run.resolved.spec),
                "values": run.values,
                "spec_hash": run.resolved.spec.hash(),
                "group_hash": run.resolved.spec.group_hash(),
                "predicted_s": _rounded(prediction.wall_s),
                "predicted_from": prediction.basis,
            }
            for run, prediction in zip(plan.runs, predicted, strict=True)
        ],
        "left_out": [{"label": item.label, "seed": item.seed, "skip": item.skip} for item in plan.left_out],
        "repeated": [{"label": item.label, "seed": item.seed, "same_as": item.same_as} for item in plan.repeated],
        "predicted_s": _rounded(overall.wall_s if overall.known else None),
        "predicted_unknown": overall.unknown,
    }


def _fold(spec: RunSpec) -> dict[str, Any]:
    split = spec.split
    return {} if split.fold is None else {"fold": split.fold, "folds": split.folds}


def _rows(plan: SweepPlan, predicted: Sequence[RunForecast]) -> Table:
    seeds: dict[str, list[int]] = {}
    predictions: dict[str, RunForecast] = {}
    for run, prediction in zip(plan.runs, predicted, strict=True):
        seeds.setdefault(run.label, []).append(run.seed)
        predictions[run.label] = prediction
    rows = [
        (label, predictions[label].basis, _ranges(row_seeds), formatting.seconds(predictions[label].wall_s))
        for label, row_seeds in seeds.items()
    ]
    return plain_table(("row", "predicted", "seeds", "per run"), rows, left=2)


def _order(plan: SweepPlan) -> str:
    """Return the order of the runs: the row that each seed starts with."""
    starts: dict[int, str] = {}
    for run in plan.runs:
        starts.setdefault(run.seed, run.label)
    if len(starts) == 1:
        return "the rows in file order"
    parts = [f"seed {seed} from {label}" for seed, label in starts.items()]
    more = ["…"] if len(parts) > _MOST_STARTS else []
    return f"all rows with one seed, then with the next: {', '.join(parts[:_MOST_STARTS] + more)}"


def _seeds_in_words(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {_ranges(seeds)}"


def _folds_in_words(plan: SweepPlan) -> str:
    numbers = sorted({run.resolved.spec.split.folds or 0 for run in plan.runs} - {0})
    return f", {' and '.join(map(str, numbers))} folds each" if numbers else ""


def _ranges(seeds: Iterable[int]) -> str:
    """Return numbers with consecutive ones as ranges: 0-2, 7."""
    ranges: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if ranges and seed == ranges[-1][1] + 1:
            ranges[-1][1] = seed
        else:
            ranges.append([seed, seed])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _some(texts: Iterable[str], most: int = 4) -> str:
    listed = list(texts)
    return "; ".join(listed[:most] + ["…"] * (len(listed) > most))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
