"""All pictures that a report on some groups has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from peftbench.analysis.groups import Group
from peftbench.analysis.pareto import memory_axis, pareto
from peftbench.analysis.samples import DEV_AVG
from peftbench.analysis.study_groups import StudyGroups
from peftbench.report import pictures
from peftbench.report.picture import Picture
from peftbench.store.rows import SampleRow

Samples = Mapping[str, Sequence[SampleRow]]


def of_groups(groups: Sequence[Group], samples: Samples, metric: str = DEV_AVG) -> tuple[Picture, ...]:
    """Return the pictures of a comparison; that of ranks only where there are several to see."""
    ranks = pictures.ranks(groups, metric)
    return (
        pictures.curves(groups, metric),
        *((ranks,) if len(ranks.ticks) > 1 else ()),
        pictures.front(pareto(groups, memory_axis(groups), metric)),
        pictures.memory(groups),
        pictures.power(groups, samples),
    )


def of_study(groups: StudyGroups, samples: Samples) -> tuple[Picture, ...]:
    """Return the pictures of the study's report: Figure 2 is of the DoRA ranks alone, the others of every row."""
    rows, ranks = list(groups.rows.values()), list(groups.ranks.values())
    return (
        pictures.curves(ranks, title="Figure 2: DoRA by epoch, ours"),
        pictures.ranks(rows),
        pictures.front(pareto(rows, memory_axis(rows), DEV_AVG)),
        pictures.memory(rows),
        pictures.power(rows, samples),
    )
