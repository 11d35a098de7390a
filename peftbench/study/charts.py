"""The charts of the study's report."""

from __future__ import annotations

import math
from dataclasses import replace

from peftbench.analysis.pareto import memory_axis, pareto
from peftbench.analysis.scores import DEV_AVG
from peftbench.report.charts import runs
from peftbench.report.charts.chart import Curve, Picture
from peftbench.study import published
from peftbench.study.groups import StudyGroups


def _beside_published(ours: Picture) -> Picture:
    """Return the rank chart with the DoRA averages of the study's Table 1 added, open and dashed."""
    if ours.empty is not None:
        return ours
    printed = [row for row in published.rows() if row.method == "dora" and not row.augmented]
    xs = tuple(math.log2(row.rank) for row in printed)
    ys = tuple(row.dev[published.DEV_AVG] for row in printed)
    line = Curve("dora, the study's Table 1", xs, ys, len(ours.curves), dashed=True, hollow=True)
    ticks = sorted({*ours.ticks, *((math.log2(row.rank), str(row.rank)) for row in printed)})
    notes = (*ours.notes, "the study used its own encoder and data, one run per rank")
    return replace(ours, curves=(*ours.curves, line), ticks=tuple(ticks), notes=notes)


def of_study(groups: StudyGroups, samples: runs.Samples) -> tuple[Picture, ...]:
    """Return the charts of the study's report: Figure 2 has the DoRA ranks only, the others have every row."""
    rows, ranks = list(groups.rows.values()), list(groups.ranks.values())
    return (
        runs.curves(ranks, title="Figure 2: DoRA by epoch, ours"),
        _beside_published(runs.ranks(rows)),
        runs.front(pareto(rows, memory_axis(rows), DEV_AVG)),
        runs.memory(rows),
        runs.power(rows, samples),
    )
