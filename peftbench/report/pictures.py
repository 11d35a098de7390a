"""Pictures of groups of runs: curves (the study's Figure 2), ranks, the Pareto front, memory, power."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from peftbench.analysis.course import AVERAGE, curve, positions
from peftbench.analysis.groups import Group, records_of
from peftbench.analysis.level import level
from peftbench.analysis.pareto import AXES, Front
from peftbench.analysis.samples import DEV_AVG, sample_of
from peftbench.report import figures
from peftbench.report.anatomy import anatomies
from peftbench.report.picture import Bar, Curve, Picture, nothing
from peftbench.report.verdicts import metric_name
from peftbench.store.rows import RunRecord, SampleRow
from peftbench.text import clean

MIB = 2**20
_PARTS = ("weights", "gradients", "optimizer", "activations", "workspace")
_PART_NAMES = ("weights", "gradients", "optimiser", "activations", "workspace")
_ASIDE = 0.12  # of a doubling: methods at the same rank side by side
MOST_POINTS = 400  # of a meter
_NAME = 32  # characters of a name


def curves(groups: Sequence[Group], metric: str = DEV_AVG, title: str | None = None) -> Picture:
    """Return dev (solid) and train (dashed, open markers) over epochs, each group's mean over its seeds."""
    task = AVERAGE if metric == DEV_AVG else metric
    title = title or f"{metric_name(metric)} by epoch"
    found: list[Curve] = []
    for place, one in enumerate(groups):
        for split in ("train", "dev"):
            xs, ys = _mean_curve(one, task, split)
            name = clean(one.label, _NAME) if split == "dev" else ""
            found.append(Curve(name, xs, ys, place, dashed=split == "train", hollow=split == "train"))
    if not any(one.xs for one in found):
        return nothing("curves", title, "no epoch has ended")
    several = any(len(one.records) > 1 for one in groups)
    note = "solid: dev; dashed, open markers: train (on a fixed part of it)"
    notes = (note, *(("means over the seeds",) if several else ()))
    return Picture("curves", title, "epoch", metric_name(metric), tuple(found), whole_x=True, notes=notes)


def ranks(groups: Sequence[Group], metric: str = DEV_AVG) -> Picture:
    """Return scores against rank, with 95 % intervals, a curve a method."""
    title = f"{metric_name(metric)} by rank"
    of_method: dict[str, list[tuple[int, Group]]] = {}
    for one in groups:
        method = json.loads(one.first.spec_json)["method"]
        if isinstance(rank := method.get("rank"), int) and rank > 0:
            of_method.setdefault(one.first.method, []).append((rank, one))
    made = sample_of(metric, records_of(one for rows in of_method.values() for _, one in rows))
    if made is None:
        return nothing("ranks", title, "no group with a rank and predictions")
    found, seen = [], set()
    for place, (method, rows) in enumerate(of_method.items()):
        points = [(rank, e) for rank, one in sorted(rows, key=lambda row: row[0]) if (e := level(made, one.ids))]
        aside = _ASIDE * (place - (len(of_method) - 1) / 2)
        seen |= {rank for rank, _ in points}
        xs, estimates = tuple(math.log2(rank) + aside for rank, _ in points), [each for _, each in points]
        lows, highs = tuple(each.low for each in estimates), tuple(each.high for each in estimates)
        ys = tuple(each.value for each in estimates)
        found.append(Curve(clean(method, _NAME), xs, ys, place, lows=lows, highs=highs))
    ticks = tuple((math.log2(rank), str(rank)) for rank in sorted(seen))
    alone = any(len(one.records) == 1 for rows in of_method.values() for _, one in rows)
    notes = (
        "mean at the best epoch, 95 % interval over seeds and dev examples; an interval that leaves the picture is cut",
        *(("of a group of one run: over dev examples alone",) if alone else ()),
    )
    return Picture("ranks", title, "rank", metric_name(metric), tuple(found), ticks=ticks, notes=notes)


def front(found: Front) -> Picture:
    """Return a front of `analysis.pareto`: filled what nothing dominates, joined; open what is dominated."""
    what, unit, _ = AXES[found.x]
    title = f"{metric_name(found.y)} against {what}"
    if not found.points:
        return nothing("pareto", title, "no group has both figures")
    on = [point for point in found.points if not point.dominated_by]
    line = Curve("", tuple(p.x.mean for p in on), tuple(p.y.mean for p in on), 0, dashed=True, marked=False)
    points = [
        Curve(
            f"{clean(point.group.label, _NAME)} ({figures.whole_percent(point.stays)})",
            (point.x.mean,),
            (point.y.mean,),
            place,
            joined=False,
            hollow=bool(point.dominated_by),
            labelled=True,
        )
        for place, point in enumerate(found.points)
    ]
    note = (
        "open: another group costs no more and scores no less; in brackets: the share of resamples in which none does"
    )
    label = f"{what}, {unit}" if unit else what
    return Picture("pareto", title, label, metric_name(found.y), (line, *points), notes=(note,))


def memory(groups: Sequence[Group]) -> Picture:
    """Return the parts of a training step's memory, of first runs: measured where all were, else predicted."""
    title = "memory of a training step"
    known = [(one, anatomies(one.first)) for one in groups]
    measured = all(pair[1] is not None and pair[1].total is not None for _, pair in known)
    bars = []
    for one, pair in known:
        parts = pair[1] if measured else pair[0]
        if parts is not None:
            values = tuple((getattr(parts, name) or 0) / MIB for name in _PARTS)
            bars.append(Bar(clean(one.label, _NAME), values))
    if not bars:
        return nothing("memory", title, "no run has a memory anatomy")
    how = "measured" if measured else "predicted before the run"
    left = [clean(one.label, _NAME) for one, pair in known if pair[1 if measured else 0] is None]
    notes = (f"{how}; see peftbench show RUN --memory", *((f"not known: {', '.join(left)}",) if left else ()))
    return Picture("memory", title, "MiB", "", parts=_PART_NAMES, bars=tuple(bars), from_zero=True, notes=notes)


def power(groups: Sequence[Group], samples: Mapping[str, Sequence[SampleRow]]) -> Picture:
    """Return the card's power over time, of each group's first run; `samples` by the run's id."""
    title = "power over time"
    found = []
    for place, one in enumerate(groups):
        rows = samples.get(one.first.id, ())
        known = sorted((row.at_s - rows[0].at_s, row.power_w) for row in rows if row.power_w is not None)
        if known:
            xs, ys = _thinned(known)
            found.append(Curve(clean(one.label, _NAME), xs, ys, place, marked=False))
    if not found:
        return nothing("power", title, "no power was measured")
    notes = ("the card's, of each group's first run",)
    return Picture("power", title, "s since the run began", "W", tuple(found), from_zero=True, notes=notes)


def _thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return means over equally many neighbours, so that few points are left."""
    step = -(-len(points) // MOST_POINTS)
    pieces = [points[start : start + step] for start in range(0, len(points), step)]
    return tuple(piece[-1][0] for piece in pieces), tuple(sum(y for _, y in piece) / len(piece) for piece in pieces)


def _mean_curve(one: Group, task: str, split: str) -> tuple[tuple[float, ...], tuple[float | None, ...]]:
    """Return the mean over the runs at each epoch that all of them have."""
    of_run = [dict(zip(*_curve(record, task, split), strict=True)) for record in one.records]
    xs = sorted(set.intersection(*(set(points) for points in of_run)))
    return tuple(xs), tuple(_mean([points[x] for points in of_run]) for x in xs)


def _curve(record: RunRecord, task: str, split: str) -> tuple[list[float], list[float | None]]:
    return curve(record, task, split, positions(record, "epoch"))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
