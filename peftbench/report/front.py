"""Which groups are not dominated, as a page and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from peftbench.analysis.pareto import AXES, Front, Point
from peftbench.report import figures
from peftbench.report.sheet import Cell, Line, Page, Sheet, name
from peftbench.report.verdicts import metric_name
from peftbench.text import clean

SURE = 0.95


def _count(value: float | None) -> str:
    return figures.count(None if value is None else round(value))


_WRITTEN: dict[str, Callable[[float | None], str]] = {
    "vram": figures.mib,
    "rss": figures.mib,
    "energy": figures.watt_hours,
    "time": figures.rate,
    "weights": _count,
}


def page(front: Front) -> Page:
    """Return the front as a page, the cheapest group first."""
    what, unit, _ = AXES[front.x]
    label = f"{what}, {unit}" if unit else what
    first = front.points[0].group.first
    return Page(
        title=f"workload {clean(first.workload)} ({clean(first.encoder)}): {metric_name(front.y)} against {what}",
        warnings=(),
        verdicts=(Line(_verdict(front), strong=True),),
        differences=(),
        sheets=(
            Sheet(
                "pareto",
                "the cheapest first",
                ("group", "runs", label, metric_name(front.y), "not dominated", "stays so", "dominated by"),
                tuple(_row(front, point) for point in front.points),
            ),
        ),
        notes=tuple(_notes(front)),
    )


def as_json(front: Front) -> dict[str, Any]:
    """Return the front as plain values."""
    return {
        "x": front.x,
        "y": front.y,
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
    said = ", ".join(f"{clean(point.group.label)} ({figures.whole_percent(point.stays)})" for point in on)
    unsure = [
        f"{clean(point.group.label)} ({figures.whole_percent(point.stays)})"
        for point in front.points
        if point.dominated_by and point.stays > 1 - SURE
    ]
    more = f"; dominated here, but not surely: {', '.join(unsure)}" if unsure else ""
    return f"not dominated: {said}{more}"


def _row(front: Front, point: Point) -> tuple[Cell, ...]:
    others = ", ".join(map(clean, point.dominated_by))
    return (
        name(clean(point.group.label)),
        Cell(str(len(point.group.records)), len(point.group.records)),
        _spread(point.x.mean, point.x.sd, front.x),
        _spread(point.y.mean, point.y.sd, None),
        Cell("no" if point.dominated_by else "yes", best=not point.dominated_by),
        Cell(figures.whole_percent(point.stays), point.stays),
        Cell(others, others),
    )


def _spread(mean: float, sd: float | None, axis: str | None) -> Cell:
    write = _WRITTEN[axis] if axis else figures.score
    return Cell(f"{write(mean)} ±{write(sd)}" if sd else write(mean), mean)


def _notes(front: Front) -> list[str]:
    notes = [f"left out: {clean(label)} ({clean(why)})" for label, why in front.left_out]
    notes.append(
        f"In brackets and under 'stays so': the share of {front.resamples:,} resamples (dev examples, and means moved "
        "by what their seeds spread) in which no other group costs no more and scores no less."
    )
    if front.without_seeds:
        alone = ", ".join(map(clean, front.without_seeds))
        notes.append(f"One run: {alone}. The spread between seeds is not in these shares.")
    return notes
