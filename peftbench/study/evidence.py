"""Measured differences, and whether they support or contradict a claim.

A claim states a region for a true difference. Evidence speaks for it if the whole 95 % confidence interval lies inside
the region, and against it if the estimate lies outside and the edge is rejected, with Holm's correction over the
evidence of the claim.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from peftbench.analysis.cost import Cost, cost
from peftbench.analysis.groups import Group, records_of, same_seeds
from peftbench.analysis.stats.bootstrap import ScoreSample
from peftbench.analysis.stats.difference import difference
from peftbench.analysis.stats.estimate import Estimate, relative, to_middle
from peftbench.analysis.stats.interval import ALPHA, VarianceComponents
from peftbench.analysis.stats.pvalues import holm
from peftbench.analysis.task_order import largest_difference

Speaks = Literal["for", "against", "neither"]


@dataclass(frozen=True, slots=True)
class Region:
    """The region that a claim states for a difference. `against`: the refuting edge, if not the region's own.

    An edge inside the region lets a significantly negligible effect refute the claim of an effect, too.
    """

    low: float = -math.inf
    high: float = math.inf
    against: float | None = None

    def refuting_edge(self, value: float) -> float | None:
        """Return the edge that an estimate lies beyond, or None."""
        low, high = self.low, self.high
        if self.against is not None:
            low, high = (self.against, high) if math.isfinite(low) else (low, self.against)
        return low if value < low else high if value > high else None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One measured difference, `of` minus (or relative to) `against`. `lacks`: why there is no `estimate`."""

    what: str
    of: str
    against: str
    estimate: Estimate | None
    region: Region
    lacks: str | None = None
    speaks: Speaks = "neither"


def weighed(evidence: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """Return the evidence with `speaks` set, after Holm's correction."""
    refuting = [_p_refuting(item) for item in evidence]
    adjusted = holm([1.0 if p is None else p for p in refuting])
    return tuple(replace(item, speaks=_speaks(item, p)) for item, p in zip(evidence, adjusted, strict=True))


def score_evidence(
    scores: ScoreSample | None, of: Group, against: Group, region: Region, what: str = "Dev Avg"
) -> Evidence:
    """Return a difference of scores; no estimate if a side has a single run (the variance over seeds is unknown)."""
    evidence = Evidence(what, of.label, against.label, None, region)
    if min(len(of.records), len(against.records)) == 1:
        return replace(evidence, lacks=too_few(of, against))
    made = difference(scores, against.ids, of.ids, same_seeds(against, of)) if scores else None
    if made is None:
        return replace(evidence, lacks="different dev examples, or an undefined score")
    return replace(evidence, estimate=Estimate(made.difference, made.low, made.high, made.noise))


def cost_evidence(figure: Figure, of: Group, against: Group, region: Region) -> Evidence:
    """Return a relative difference of a cost metric."""
    evidence = Evidence(figure.name, of.label, against.label, None, region)
    sides = [[figure.value(cost(record)) for record in group.records] for group in (against, of)]
    known = [[value for value in side if value is not None] for side in sides]
    if [len(side) for side in known] != [len(side) for side in sides]:
        return replace(evidence, lacks="not measured")
    made = relative(*known)
    return replace(evidence, estimate=made, lacks=None if made else too_few(of, against))


def too_few(of: Group, against: Group) -> str:
    """Return why there is no estimate: which side has a single run."""
    single = [group.label for group in (of, against) if len(group.records) == 1]
    return (
        "one seed each"
        if len(single) == 2
        else f"one seed of {single[0]}"
        if single
        else "a value that is not positive"
    )


def middle_evidence(figure: Figure, of: Group, low: Group, high: Group, region: Region) -> Evidence:
    """Return the relative difference of a cost metric to the geometric mean of two other groups."""
    evidence = Evidence(figure.name, of.label, f"the geometric mean of {low.label} and {high.label}", None, region)
    sides = [[figure.value(cost(record)) for record in group.records] for group in (of, low, high)]
    known = [[value for value in side if value is not None] for side in sides]
    if [len(side) for side in known] != [len(side) for side in sides]:
        return replace(evidence, lacks="not measured")
    made = to_middle(*known)
    return replace(evidence, estimate=made, lacks=None if made else "one seed each")


def order_evidence(first: Group, second: Group) -> Evidence:
    """Return the largest difference between runs that differ only in task order; 0 if bit-identical."""
    value, lacks = largest_difference(first, second)
    of, against = (f"{group.label} ({', '.join(group.records[0].tasks)})" for group in (second, first))
    estimate = None if value is None else Estimate(value, value, value, VarianceComponents(0.0, math.inf, 0.0))
    return Evidence("any score or prediction", of, against, estimate, _EXACTLY_ZERO, lacks)


_EXACTLY_ZERO = Region(-sys.float_info.min, sys.float_info.min)


@dataclass(frozen=True, slots=True)
class Figure:
    """A cost metric of a run."""

    name: str
    value: Callable[[Cost], float | None]


def memory_figure(groups: Sequence[Group]) -> Figure:
    """Return GPU memory if all runs have it from the same source, else the RSS of the process."""
    costs = [cost(record) for record in records_of(groups)]
    sources = {run_cost.vram_source for run_cost in costs}
    if len(sources) == 1 and None not in sources:
        return Figure("memory (VRAM)", lambda of: of.vram_mib)
    return Figure("memory (peak RSS)", lambda of: of.peak_rss_mib)


def energy_figure(groups: Sequence[Group]) -> Figure | None:
    """Return GPU energy per step if all runs have it from the same source, else None."""
    sources = {cost(record).energy_source for record in records_of(groups)}
    return Figure("energy of a step", _joules) if len(sources) == 1 and None not in sources else None


def power_figure(groups: Sequence[Group]) -> Figure | None:
    """Return power in training: GPU if all runs have it, else CPU (RAPL); None if not measured."""
    costs = [cost(record) for record in records_of(groups)]
    if costs and all(run_cost.power_w for run_cost in costs):
        return Figure("power in training", lambda of: math.fsum(of.power_w.values()) / len(of.power_w))
    if costs and all(run_cost.cpu_power_w is not None and not run_cost.power_w for run_cost in costs):
        return Figure("power in training (CPU, RAPL)", lambda of: of.cpu_power_w)
    return None


STEP_TIME = Figure("time of a step", lambda of: None if (rate := _steps_per_s(of)) is None else 1 / rate)
SPEED = Figure("steps per second", lambda of: _steps_per_s(of))


def _steps_per_s(of: Cost) -> float | None:
    """Return steps per second, averaged over one step of each task."""
    return len(of.its) / math.fsum(1 / rate for rate in of.its.values()) if of.its and all(of.its.values()) else None


def _joules(of: Cost) -> float | None:
    return math.fsum(of.j_per_step.values()) / len(of.j_per_step) if of.j_per_step else None


def _p_refuting(evidence: Evidence) -> float | None:
    if evidence.estimate is None or evidence.estimate.inside(evidence.region.low, evidence.region.high):
        return None
    edge = evidence.region.refuting_edge(evidence.estimate.value)
    return None if edge is None else evidence.estimate.p_beyond(edge)


def _speaks(evidence: Evidence, p_refuting: float) -> Speaks:
    if evidence.estimate is not None and evidence.estimate.inside(evidence.region.low, evidence.region.high):
        return "for"
    return "against" if p_refuting <= ALPHA else "neither"
