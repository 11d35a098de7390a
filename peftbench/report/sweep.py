"""A planned sweep as text and as JSON: its rows, what is left out, the order, and the time it will take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from peftbench.analysis.forecast import NOTHING_YET, Predicted, Total, Wanted, total
from peftbench.report import figures
from peftbench.report.layout import plain_table
from peftbench.spec.model import RunSpec
from peftbench.spec.sweep import SweepPlan
from peftbench.text import clean

_MOST_STARTS = 6


def plan_page(plan: SweepPlan, predicted: Sequence[Predicted]) -> list[str | Table]:
    """Return what a dry run prints; `predicted` has an entry a run, in the plan's order."""
    labels = {run.label for run in plan.runs}
    title = f"sweep {plan.sweep.name} on workload {plan.workload}: {_count(len(plan.runs), 'run')}"
    return [
        clean(f"{title} ({_count(len(labels), 'row')}, {_seeds_in_words(plan.seeds)})"),
        *([plan.sweep.description] if plan.sweep.description else []),
        "",
        _rows(plan, predicted),
        "",
        *notes(plan),
        f"order: {_order(plan)}",
        f"time: {total_in_words(total(predicted))}",
    ]


def notes(plan: SweepPlan) -> list[str]:
    """Say what conditions leave out and which combinations are the same run."""
    found = []
    if plan.left_out:
        left = Counter(one.label for one in plan.left_out)
        found.append(f"left out by [[skip]]: {_count(len(plan.left_out), 'run')} ({_some(left)})")
    if plan.repeated:
        pairs = dict.fromkeys(f"{one.label} is {one.same_as}" for one in plan.repeated)
        found.append(f"the same spec twice, run once: {_count(len(plan.repeated), 'run')} ({_some(pairs)})")
    return found


def wanted(spec: RunSpec) -> Wanted:
    """Return a planned run, as far as its time depends on it."""
    return Wanted(spec.group_hash(), spec.workload, spec.method.name, spec.train.epochs, spec.augmented_by)


def total_in_words(found: Total) -> str:
    """Say how long the runs take one after another, as far as that can be judged."""
    if not found.known:
        return f"unknown: {NOTHING_YET}"
    if found.unknown:
        unknown = f"{found.unknown} of {_count(found.runs, 'run')} cannot be judged"
        return f"at least {figures.seconds(found.wall_s)}, one run after another ({unknown})"
    return f"about {figures.seconds(found.wall_s)}, one run after another"


def plan_json(plan: SweepPlan, predicted: Sequence[Predicted]) -> dict[str, Any]:
    """Return a plan as JSON, the runs in their order."""
    whole = total(predicted)
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
                "values": run.values,
                "spec_hash": run.resolved.spec.hash(),
                "group_hash": run.resolved.spec.group_hash(),
                "predicted_s": _rounded(one.wall_s),
                "predicted_from": one.basis,
            }
            for run, one in zip(plan.runs, predicted, strict=True)
        ],
        "left_out": [{"label": one.label, "seed": one.seed, "skip": one.skip} for one in plan.left_out],
        "repeated": [{"label": one.label, "seed": one.seed, "same_as": one.same_as} for one in plan.repeated],
        "predicted_s": _rounded(whole.wall_s if whole.known else None),
        "predicted_unknown": whole.unknown,
    }


def _rows(plan: SweepPlan, predicted: Sequence[Predicted]) -> Table:
    seeds: dict[str, list[int]] = {}
    judged: dict[str, Predicted] = {}
    for run, one in zip(plan.runs, predicted, strict=True):
        seeds.setdefault(run.label, []).append(run.seed)
        judged[run.label] = one
    rows = [
        (label, judged[label].basis, _ranges(mine), figures.seconds(judged[label].wall_s))
        for label, mine in seeds.items()
    ]
    return plain_table(("row", "predicted", "seeds", "a run"), rows, left=2)


def _order(plan: SweepPlan) -> str:
    """Say how the runs take turns: which row each seed begins with."""
    starts: dict[int, str] = {}
    for run in plan.runs:
        starts.setdefault(run.seed, run.label)
    if len(starts) == 1:
        return "the rows as they stand"
    said = [f"seed {seed} from {label}" for seed, label in starts.items()]
    more = ["…"] if len(said) > _MOST_STARTS else []
    return f"all rows with one seed, then with the next: {', '.join(said[:_MOST_STARTS] + more)}"


def _seeds_in_words(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {_ranges(seeds)}"


def _ranges(seeds: Iterable[int]) -> str:
    """Return numbers with runs of them drawn together: 0-2, 7."""
    found: list[list[int]] = []
    for seed in sorted(seeds):
        if found and seed == found[-1][1] + 1:
            found[-1][1] = seed
        else:
            found.append([seed, seed])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def _some(texts: Iterable[str], most: int = 4) -> str:
    listed = list(texts)
    return "; ".join(listed[:most] + ["…"] * (len(listed) > most))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
