"""Charts of groups of runs: curves (the study's Figure 2), ranks, the Pareto front, memory, power."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from peftbench import formatting
from peftbench.analysis.groups import Group, records_of
from peftbench.analysis.pareto import AXES, Front, memory_axis, pareto
from peftbench.analysis.rank_scale import scale_notes
from peftbench.analysis.scores import AVERAGES, DEV_AVG, scored_split
from peftbench.analysis.stats.bootstrap import score_sample_of
from peftbench.analysis.stats.estimate import level
from peftbench.analysis.trajectory import AVERAGE, curve, positions
from peftbench.report.charts.chart import Bar, Curve, Picture, nothing
from peftbench.report.headlines import average_notes, named
from peftbench.report.memory import anatomies
from peftbench.store.rows import RunRecord, SampleRow
from peftbench.text import clean

Samples = Mapping[str, Sequence[SampleRow]]  # by run id

MIB = 2**20
_PARTS = ("weights", "gradients", "optimizer", "activations", "workspace")
_PART_NAMES = ("weights", "gradients", "optimiser", "activations", "workspace")
_ASIDE = 0.12  # offset in log 2 units between methods at the same rank
MOST_POINTS = 400  # per meter curve
_NAME = 32  # maximum characters of a name


def of_groups(groups: Sequence[Group], samples: Samples, metric: str = DEV_AVG) -> tuple[Picture, ...]:
    """Return the charts of a comparison; the rank chart only if there are several ranks."""
    by_rank = ranks(groups, metric)
    return (
        curves(groups, metric),
        *((by_rank,) if len(by_rank.ticks) > 1 else ()),
        front(pareto(groups, memory_axis(groups), metric)),
        memory(groups),
        power(groups, samples),
    )


def curves(groups: Sequence[Group], metric: str = DEV_AVG, title: str | None = None) -> Picture:
    """Return dev (solid) and train (dashed, open markers) over epochs, as each group's mean over its seeds."""
    metric = DEV_AVG if metric in AVERAGES.values() else metric  # there is no test score by epoch
    task = AVERAGE if metric == DEV_AVG else metric
    label = named(metric, groups)
    title = title or f"{label} by epoch"
    lines: list[Curve] = []
    for index, group in enumerate(groups):
        for split in ("train", "dev"):
            xs, ys = _mean_curve(group, task, split)
            name = clean(group.label, _NAME) if split == "dev" else ""
            lines.append(Curve(name, xs, ys, index, dashed=split == "train", hollow=split == "train"))
    if not any(line.xs for line in lines):
        return nothing("curves", title, "no epoch has finished")
    several = any(len(group.records) > 1 for group in groups)
    note = "solid: dev; dashed, open markers: train (on a fixed subset)"
    notes = (note, *(("means over seeds",) if several else ()), *average_notes(metric, groups))
    return Picture("curves", title, "epoch", label, tuple(lines), whole_x=True, notes=notes)


def ranks(groups: Sequence[Group], metric: str = DEV_AVG) -> Picture:
    """Return scores against rank with 95 % confidence intervals, one curve per method."""
    of_method: dict[str, list[tuple[int, Group]]] = {}
    for group in groups:
        method = group.first.spec["method"]
        if isinstance(rank := method.get("rank"), int) and rank > 0 and group.first.folds is None:
            of_method.setdefault(group.first.method, []).append((rank, group))
    ranked = [group for rows in of_method.values() for _, group in rows]
    records = records_of(ranked)
    split = scored_split(records)
    metric = AVERAGES[split] if metric in AVERAGES.values() else metric
    title = f"{named(metric, ranked, split)} by rank"
    made = score_sample_of(metric, records, split)
    if made is None:
        return nothing("ranks", title, "no group with a rank and predictions")
    lines, seen = [], set()
    for index, (method, rows) in enumerate(of_method.items()):
        points = [(rank, e) for rank, group in sorted(rows, key=lambda row: row[0]) if (e := level(made, group.ids))]
        aside = _ASIDE * (index - (len(of_method) - 1) / 2)
        seen |= {rank for rank, _ in points}
        xs, estimates = tuple(math.log2(rank) + aside for rank, _ in points), [each for _, each in points]
        lows, highs = tuple(each.low for each in estimates), tuple(each.high for each in estimates)
        ys = tuple(each.value for each in estimates)
        lines.append(Curve(clean(method, _NAME), xs, ys, index, lows=lows, highs=highs))
    ticks = tuple((math.log2(rank), str(rank)) for rank in sorted(seen))
    single = any(len(group.records) == 1 for rows in of_method.values() for _, group in rows)
    notes = (
        f"mean at the best epoch, 95 % interval over seeds and {split} examples; intervals are clipped to the chart",
        *((f"groups of one run: over {split} examples only",) if single else ()),
        *scale_notes(ranked),
        *average_notes(metric, ranked),
    )
    return Picture("ranks", title, "rank", named(metric, ranked), tuple(lines), ticks=ticks, notes=notes)


def front(pareto_front: Front) -> Picture:
    """Return a Pareto front: non-dominated groups filled and joined, dominated ones open."""
    what, unit, _ = AXES[pareto_front.x]
    groups = [point.group for point in pareto_front.points]
    title = f"{named(pareto_front.y, groups, pareto_front.split)} against {what}"
    if not pareto_front.points:
        return nothing("pareto", title, "no group has both values")
    on = [point for point in pareto_front.points if not point.dominated_by]
    line = Curve("", tuple(p.x.mean for p in on), tuple(p.y.mean for p in on), 0, dashed=True, marked=False)
    points = [
        Curve(
            f"{clean(point.group.label, _NAME)} ({formatting.whole_percent(point.stays)})",
            (point.x.mean,),
            (point.y.mean,),
            index,
            joined=False,
            hollow=bool(point.dominated_by),
            labelled=True,
        )
        for index, point in enumerate(pareto_front.points)
    ]
    note = (
        "open: dominated (another group costs no more and scores no less); in brackets: share of resamples in which "
        "the group is not dominated"
    )
    label = f"{what}, {unit}" if unit else what
    notes = (note, *average_notes(pareto_front.y, groups))
    return Picture("pareto", title, label, named(pareto_front.y, groups), (line, *points), notes=notes)


def memory(groups: Sequence[Group]) -> Picture:
    """Return the step memory by component of each group's first run: measured if all were, else predicted."""
    title = "memory of a training step"
    known = [(group, anatomies(group.first)) for group in groups]
    measured = all(pair[1] is not None and pair[1].total is not None for _, pair in known)
    bars = []
    for group, pair in known:
        parts = pair[1] if measured else pair[0]
        if parts is not None:
            values = tuple((getattr(parts, name) or 0) / MIB for name in _PARTS)
            bars.append(Bar(clean(group.label, _NAME), values))
    if not bars:
        return nothing("memory", title, "no run has memory data")
    how = "measured" if measured else "predicted before the run"
    left = [clean(group.label, _NAME) for group, pair in known if pair[1 if measured else 0] is None]
    notes = (f"{how}; see peftbench show RUN --memory", *((f"unknown: {', '.join(left)}",) if left else ()))
    return Picture("memory", title, "MiB", "", parts=_PART_NAMES, bars=tuple(bars), from_zero=True, notes=notes)


def power(groups: Sequence[Group], samples: Samples) -> Picture:
    """Return the GPU power over time in each group's first run."""
    title = "power over time"
    lines = []
    for index, group in enumerate(groups):
        rows = samples.get(group.first.id, ())
        known = sorted((row.at_s - rows[0].at_s, row.power_w) for row in rows if row.power_w is not None)
        if known:
            xs, ys = _thinned(known)
            lines.append(Curve(clean(group.label, _NAME), xs, ys, index, marked=False))
    if not lines:
        return nothing("power", title, "no power was measured")
    notes = ("GPU power in each group's first run",)
    return Picture("power", title, "s since the run started", "W", tuple(lines), from_zero=True, notes=notes)


def _thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Downsample points by means over blocks of equal size."""
    step = -(-len(points) // MOST_POINTS)
    pieces = [points[start : start + step] for start in range(0, len(points), step)]
    return tuple(piece[-1][0] for piece in pieces), tuple(sum(y for _, y in piece) / len(piece) for piece in pieces)


def _mean_curve(group: Group, task: str, split: str) -> tuple[tuple[float, ...], tuple[float | None, ...]]:
    """Return the mean over the runs at each epoch that they have in common."""
    of_run = [dict(zip(*_curve(record, task, split), strict=True)) for record in group.records]
    xs = sorted(set.intersection(*(set(points) for points in of_run)))
    return tuple(xs), tuple(_mean([points[x] for points in of_run]) for x in xs)


def _curve(record: RunRecord, task: str, split: str) -> tuple[list[float], list[float | None]]:
    return curve(record, task, split, positions(record, "epoch"))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
