"""The Pareto front of groups, as a page and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from peftbench import formatting
from peftbench.analysis.pareto import AXES, Front, Point
from peftbench.analysis.scores import headlines
from peftbench.report.headlines import average_notes, metric_name, named
from peftbench.report.page import Cell, Line, Page, Sheet, name
from peftbench.text import clean

SURE = 0.95


def _count(value: float | None) -> str:
    return formatting.count(None if value is None else round(value))


_WRITTEN: dict[str, Callable[[float | None], str]] = {
    "vram": formatting.mib,
    "rss": formatting.mib,
    "energy": formatting.watt_hours,
    "time": formatting.rate,
    "weights": _count,
}


def page(front: Front) -> Page:
    """Return the front as a page, cheapest group first."""
    what, unit, _ = AXES[front.x]
    label = f"{what}, {unit}" if unit else what
    groups = [point.group for point in front.points]
    first, score = groups[0].first, named(front.y, groups, front.split)
    return Page(
        title=f"workload {clean(first.workload)} ({clean(first.encoder)}): {score} against {what}",
        warnings=(),
        verdicts=(Line(_verdict(front), strong=True),),
        differences=(),
        sheets=(
            Sheet(
                "pareto",
                "cheapest first",
                ("group", "runs", label, metric_name(front.y), "not dominated", "stability", "dominated by"),
                tuple(_row(front, point) for point in front.points),
            ),
        ),
        notes=(*average_notes(front.y, groups), *_notes(front)),
    )


def as_json(front: Front) -> dict[str, Any]:
    """Return the front as JSON-compatible values."""
    return {
        "x": front.x,
        "y": front.y,
        "split": front.split,
        "headlines": headlines(front.points[0].group.first) if front.points else {},
        "resamples": front.resamples,
        "points": [
            {
                "group": point.group.label,
                "runs": list(point.group.ids),
                "x": dataclasses.asdict(point.x),
                "y": dataclasses.asdict(point.y),
                "dominated_by": list(point.dominated_by),
                "stays": point.stays,
            }
            for point in front.points
        ],
        "left_out": dict(front.left_out),
    }


def _verdict(front: Front) -> str:
    on = [point for point in front.points if not point.dominated_by]
    names = ", ".join(f"{clean(point.group.label)} ({formatting.whole_percent(point.stays)})" for point in on)
    uncertain = [
        f"{clean(point.group.label)} ({formatting.whole_percent(point.stays)})"
        for point in front.points
        if point.dominated_by and point.stays > 1 - SURE
    ]
    more = f"; dominated, but not reliably: {', '.join(uncertain)}" if uncertain else ""
    return f"not dominated: {names}{more}"


def _row(front: Front, point: Point) -> tuple[Cell, ...]:
    others = ", ".join(map(clean, point.dominated_by))
    return (
        name(clean(point.group.label)),
        Cell(str(len(point.group.records)), len(point.group.records)),
        _spread(point.x.mean, point.x.sd, front.x),
        _spread(point.y.mean, point.y.sd, None),
        Cell("no" if point.dominated_by else "yes", best=not point.dominated_by),
        Cell(formatting.whole_percent(point.stays), point.stays),
        Cell(others, others),
    )


def _spread(mean: float, sd: float | None, axis: str | None) -> Cell:
    write = _WRITTEN[axis] if axis else formatting.score
    return Cell(f"{write(mean)} ±{write(sd)}" if sd else write(mean), mean)


def _notes(front: Front) -> list[str]:
    notes = [f"left out: {clean(label)} ({clean(reason)})" for label, reason in front.left_out]
    notes.append(
        f"In brackets and under 'stability': share of {front.resamples:,} bootstrap resamples (of {front.split} "
        "examples, with means shifted by the additional variance between seeds) in which no other group costs no more "
        "and scores no less."
    )
    if front.without_seeds:
        single = ", ".join(map(clean, front.without_seeds))
        notes.append(f"One run only: {single}. Their stability does not include the variance between seeds.")
    return notes
