"""Measured differences, and whether they speak for a claim or against it.

A claim says in which region a true difference lies. Evidence speaks for it where the whole 95 % interval is in there,
and against it where the estimate is outside and the edge is ruled out, corrected (Holm) for how many could.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from peftbench.analysis.comparison import same_seeds
from peftbench.analysis.difference import difference
from peftbench.analysis.estimate import Estimate, relative
from peftbench.analysis.groups import Group, records_of
from peftbench.analysis.interval import ALPHA
from peftbench.analysis.pvalues import holm
from peftbench.analysis.resources import Cost, cost
from peftbench.analysis.samples import Sample

Speaks = Literal["for", "against", "neither"]


@dataclass(frozen=True, slots=True)
class Region:
    """Where a claim says that a difference lies. `against`: the edge beyond which it is refuted; else the region's own.

    With such an edge inside the region a claim of some effect is refuted by a surely negligible one, too.
    """

    low: float = -math.inf
    high: float = math.inf
    against: float | None = None

    def refuting_edge(self, value: float) -> float | None:
        """Return the edge that an estimate lies beyond, None where it lies beyond none."""
        low, high = self.low, self.high
        if self.against is not None:
            low, high = (self.against, high) if math.isfinite(low) else (low, self.against)
        return low if value < low else high if value > high else None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One measured difference, `of` less (or over) `against`. `estimate` is None where `lacks` says why."""

    what: str
    of: str
    against: str
    estimate: Estimate | None
    region: Region
    lacks: str | None = None
    speaks: Speaks = "neither"


def weighed(evidence: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """Return evidence with what each piece says."""
    refuting = [_p_refuting(one) for one in evidence]
    adjusted = holm([1.0 if p is None else p for p in refuting])
    return tuple(replace(one, speaks=_says(one, p)) for one, p in zip(evidence, adjusted, strict=True))


def score_evidence(scores: Sample | None, of: Group, against: Group, region: Region) -> Evidence:
    """Return a difference of Dev Avg; of single runs none, as their seeds' spread is unknown."""
    found = Evidence("Dev Avg", of.label, against.label, None, region)
    if len(of.records) == len(against.records) == 1:
        return replace(found, lacks="one seed each")
    made = difference(scores, against.ids, of.ids, same_seeds(against, of)) if scores else None
    if made is None:
        return replace(found, lacks="not the same dev examples, or a score that does not exist")
    return replace(found, estimate=Estimate(made.difference, made.low, made.high, made.noise))


def cost_evidence(figure: Figure, of: Group, against: Group, region: Region) -> Evidence:
    """Return a relative difference of a figure of cost."""
    found = Evidence(figure.name, of.label, against.label, None, region)
    sides = [[figure.value(cost(record)) for record in one.records] for one in (against, of)]
    known = [[value for value in side if value is not None] for side in sides]
    if [len(side) for side in known] != [len(side) for side in sides]:
        return replace(found, lacks="not measured")
    made = relative(*known)
    return replace(found, estimate=made, lacks=None if made else "one seed each")


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a run's cost."""

    name: str
    value: Callable[[Cost], float | None]


def memory_figure(groups: Sequence[Group]) -> Figure:
    """Return the card's memory where all runs know it, read in one way; else the process's."""
    costs = [cost(record) for record in records_of(groups)]
    sources = {one.vram_source for one in costs}
    if len(sources) == 1 and None not in sources:
        return Figure("memory (VRAM)", lambda of: of.vram_mib)
    return Figure("memory (peak RSS)", lambda of: of.peak_rss_mib)


def energy_figure(groups: Sequence[Group]) -> Figure | None:
    """Return the card's energy where all runs know it, read in one way."""
    sources = {cost(record).energy_source for record in records_of(groups)}
    return Figure("energy of a step", _joules) if len(sources) == 1 and None not in sources else None


STEP_TIME = Figure("time of a step", lambda of: None if (rate := _steps_per_s(of)) is None else 1 / rate)
SPEED = Figure("steps a second", lambda of: _steps_per_s(of))


def _steps_per_s(of: Cost) -> float | None:
    """Return steps a second over one step of each task."""
    return len(of.its) / math.fsum(1 / rate for rate in of.its.values()) if of.its and all(of.its.values()) else None


def _joules(of: Cost) -> float | None:
    return math.fsum(of.j_per_step.values()) / len(of.j_per_step) if of.j_per_step else None


def _p_refuting(one: Evidence) -> float | None:
    if one.estimate is None or one.estimate.inside(one.region.low, one.region.high):
        return None
    edge = one.region.refuting_edge(one.estimate.value)
    return None if edge is None else one.estimate.p_beyond(edge)


def _says(one: Evidence, p_refuting: float) -> Speaks:
    if one.estimate is not None and one.estimate.inside(one.region.low, one.region.high):
        return "for"
    return "against" if p_refuting <= ALPHA else "neither"
