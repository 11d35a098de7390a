"""The standings of groups, as a page and as JSON, with the parts that the dashboard draws too: brackets and bars."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from peftbench import formatting
from peftbench.analysis.groups import Spread
from peftbench.analysis.pareto import AXES
from peftbench.analysis.scores import headlines
from peftbench.analysis.standings import COSTS, Standing, Standings
from peftbench.plot import BRAILLE, Glyphs
from peftbench.report.headlines import average_notes, metric_name, named
from peftbench.report.page import Cell, Line, Page, Sheet, name
from peftbench.text import clean

BAR = 20  # cells of an interval
_WRITTEN: Mapping[str, Callable[[float | None], str]] = {
    "vram": formatting.mib,
    "rss": formatting.mib,
    "time": formatting.rate,
    "energy": formatting.watt_hours,
    "weights": lambda value: formatting.count(None if value is None else round(value)),
}


def page(of: Standings, glyphs: Glyphs = BRAILLE) -> Page:
    """Return the standings as a page, the best group first."""
    groups = [row.group for row in of.rows]
    first = groups[0].first
    costs = [axis for axis in COSTS if any(row.costs[axis] is not None for row in of.rows)]
    heads = [_head(axis) for axis in costs]
    low, high = scale(of.rows)
    brackets, ranks = bracket_rows(of, glyphs), of.ranks()
    rows = tuple(
        (
            name(clean(row.group.label)),
            Cell(f"{ranks[at]} {brackets[at]}".rstrip(), ranks[at]),
            Cell(str(len(row.group.records)), len(row.group.records)),
            Cell(score_of(row), row.score.value),
            Cell(bar(row, low, high, BAR, glyphs), f"{row.score.low} {row.score.high}"),
            Cell("yes" if row.on_front else "no", best=row.on_front),
            *(_cost(row.costs[axis], axis) for axis in costs),
        )
        for at, row in enumerate(of.rows)
    )
    interval = f"{formatting.score(low)} to {formatting.score(high)}"
    sheet = Sheet(
        "standings",
        "best first",
        ("group", "rank", "runs", f"{metric_name(of.metric)}\n[95 % interval]", interval, "front", *heads),
        rows,
    )
    return Page(
        title=f"workload {clean(of.workload)} ({clean(first.encoder)}): {named(of.metric, groups, of.split)}",
        warnings=(),
        verdicts=(Line(verdict(of), strong=True),),
        differences=(),
        sheets=(sheet,),
        notes=(*average_notes(of.metric, groups), *notes(of)),
    )


def as_json(of: Standings) -> dict[str, Any]:
    """Return the standings as JSON-compatible values."""
    ranks = of.ranks()
    return {
        "workload": of.workload,
        "metric": of.metric,
        "split": of.split,
        "headlines": headlines(of.rows[0].group.first) if of.rows else {},
        "rows": [
            {
                "group": row.group.label,
                "rank": ranks[at],
                "runs": list(row.group.ids),
                "score": {"value": row.score.value, "low": row.score.low, "high": row.score.high},
                "costs": {axis: None if each is None else dataclasses.asdict(each) for axis, each in row.costs.items()},
                "on_front": row.on_front,
            }
            for at, row in enumerate(of.rows)
        ],
        "ties": [list(tie) for tie in of.ties],
        "left_out": dict(of.left_out),
    }


def verdict(of: Standings) -> str:
    """Say which groups share the first rank, and which of them costs least."""
    ranks = of.ranks()
    first = [row for row, rank in zip(of.rows, ranks, strict=True) if rank == 1]
    names = ", ".join(clean(row.group.label) for row in first)
    if len(first) == 1:
        return f"first: {names}" if len(of.rows) > 1 else f"one group: {names}"
    known = [(cost.mean, row) for row in first if (cost := row.costs[of.memory]) is not None]
    cheapest = min(known, key=lambda pair: pair[0], default=None)
    least = "" if cheapest is None else f"; least {AXES[of.memory][0]}: {clean(cheapest[1].group.label)}"
    return f"not told apart: {names}{least}"


def notes(of: Standings) -> list[str]:
    """Return how the standings are to be read, and which groups have no place."""
    single = [clean(row.group.label) for row in of.rows if len(row.group.records) == 1]
    lines = [f"left out: {clean(label)} ({clean(reason)})" for label, reason in of.left_out]
    lines.append(
        "rank: groups joined by a bracket are not told apart (verdicts over all pairs, corrected by Holm); front: no "
        f"other group costs no more {AXES[of.memory][0]} and scores no less, by the means"
    )
    if single:
        lines.append(f"one run: {', '.join(single)}: how far seeds spread is unknown, intervals are over examples only")
    return lines


def score_of(row: Standing) -> str:
    """Return a group's score with its interval."""
    score = row.score
    return f"{formatting.score(score.value)} [{formatting.score(score.low)}, {formatting.score(score.high)}]"


def scale(rows: Sequence[Standing]) -> tuple[float, float]:
    """Return the range of all intervals."""
    low, high = min(row.score.low for row in rows), max(row.score.high for row in rows)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def bar(row: Standing, low: float, high: float, cells: int, glyphs: Glyphs) -> str:
    """Return a group's interval as a bar of so many cells, its mean marked, on a scale from `low` to `high`."""
    line, mark, rest = ("-", "o", ".") if glyphs.letters else ("─", "●", "·")
    ends = ("|", "|") if glyphs.letters else ("├", "┤")

    def cell(value: float) -> int:
        return round((value - low) / (high - low) * (cells - 1))

    first, last, mean = cell(row.score.low), cell(row.score.high), cell(row.score.value)
    drawn = [rest] * cells  # not spaces, which a table would strip at its end
    drawn[first : last + 1] = line * (last - first + 1)
    drawn[first], drawn[last] = ends
    drawn[mean] = mark
    return "".join(drawn)


def bracket_rows(of: Standings, glyphs: Glyphs) -> list[str]:
    """Return the brackets that join groups not told apart: a text for each row, a column for each tie."""
    top, side, bottom = ("/", "|", "\\") if glyphs.letters else ("╭", "│", "╰")
    return [
        "".join(
            top if at == first else bottom if at == last else side if first < at < last else " "
            for first, last in of.ties
        ).rstrip()
        for at in range(len(of.rows))
    ]


def cost_text(cost: Spread | None, axis: str) -> str:
    """Return a group's mean cost."""
    return formatting.NOTHING if cost is None else _WRITTEN[axis](cost.mean)


def _cost(cost: Spread | None, axis: str) -> Cell:
    return Cell(cost_text(cost, axis), None if cost is None else cost.mean)


def _head(axis: str) -> str:
    what, unit, _ = AXES[axis]
    short = what.removesuffix(" of the run")
    return f"{short}, {unit}" if unit else short
