"""All charts of a report on groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from peftbench.analysis.groups import Group
from peftbench.analysis.pareto import memory_axis, pareto
from peftbench.analysis.scores import DEV_AVG
from peftbench.report.charts import runs
from peftbench.report.charts.chart import Picture
from peftbench.store.rows import SampleRow

Samples = Mapping[str, Sequence[SampleRow]]


def of_groups(groups: Sequence[Group], samples: Samples, metric: str = DEV_AVG) -> tuple[Picture, ...]:
    """Return the charts of a comparison; the rank chart only if there are several ranks."""
    ranks = runs.ranks(groups, metric)
    return (
        runs.curves(groups, metric),
        *((ranks,) if len(ranks.ticks) > 1 else ()),
        runs.front(pareto(groups, memory_axis(groups), metric)),
        runs.memory(groups),
        runs.power(groups, samples),
    )
