"""The study's claims, each held against stored groups: reproduced, contradicted or undecided, with the evidence.

A claim that things are alike needs every 95 % interval inside a margin that is named; "no difference was detected" is
never enough. A claim is reproduced where all of its evidence speaks for it and none is lacking, and contradicted where
some speaks against it (`evidence`). Pure functions over groups of one workload.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from peftbench.analysis.course import gaps
from peftbench.analysis.estimate import slope
from peftbench.analysis.evidence import (
    SPEED,
    STEP_TIME,
    Evidence,
    Region,
    cost_evidence,
    energy_figure,
    memory_figure,
    score_evidence,
    weighed,
)
from peftbench.analysis.groups import records_of
from peftbench.analysis.samples import DEV_AVG, Sample, sample_of
from peftbench.analysis.study_groups import BEST, FULL, LORA, RANKS, StudyGroups

Standing = Literal["reproduced", "contradicted", "undecided"]
ALIKE = 0.02  # of Dev Avg, and of the train-dev gap
COSTS_ALIKE = 0.2  # of memory and speed; the study's own memory grows by 14 % from rank 1 to 128
SAVED = 1 / 3  # "efficient": a third less; the study's own are 53 % of memory and 24 % of energy
_WITHIN = Region(-ALIKE, ALIKE)
_COSTS_WITHIN = Region(1 / (1 + COSTS_ALIKE) - 1, COSTS_ALIKE)


@dataclass(frozen=True, slots=True)
class Claim:
    """What the study says, and the rule by which stored groups are held to it, margins included."""

    key: str
    text: str
    rule: str


@dataclass(frozen=True, slots=True)
class Finding:
    """How a claim stands on some groups. `lacks` names what is not in the store and would be needed."""

    claim: Claim
    standing: Standing
    evidence: tuple[Evidence, ...]
    lacks: tuple[str, ...]


def findings(groups: StudyGroups) -> tuple[Finding, ...]:
    """Hold every claim against the groups of one workload; their records must come with predictions."""
    scores = sample_of(DEV_AVG, records_of(groups.all))
    return tuple(check(groups, scores) for check in CHECKS)


def adapters_match(groups: StudyGroups, scores: Sample | None) -> Finding:
    """Dev Avg of LoRA and DoRA at rank 12 against full fine-tuning."""
    claim = Claim(
        "adapters-match",
        "adapters match full fine-tuning",
        f"Dev Avg of {LORA} and {BEST} less that of {FULL} within {ALIKE:g}; contradicted where one is further off, "
        "better or worse",
    )
    return _decided(claim, _scores(groups, scores, (LORA, BEST), FULL, _WITHIN), _lacking(groups, (FULL, LORA, BEST)))


def dora_is_best(groups: StudyGroups, scores: Sample | None) -> Finding:
    """Dev Avg of DoRA at rank 12 against every other row's."""
    claim = Claim(
        "dora-best",
        "DoRA at rank 12 has the best average",
        "its Dev Avg less that of every other row above 0; contradicted where a row is above it",
    )
    needed = (FULL, LORA, *RANKS.values())
    found = [
        score_evidence(scores, groups.rows[BEST], other, Region(low=0.0))
        for preset, other in groups.rows.items()
        if BEST in groups.rows and preset != BEST
    ]
    return _decided(claim, found, _lacking(groups, needed))


def plateau(groups: StudyGroups, scores: Sample | None) -> Finding:
    """Dev Avg of the ranks above 12 against rank 12's."""
    claim = Claim(
        "plateau",
        "accuracy plateaus from rank 12",
        f"Dev Avg of ranks 24 and 128 less that of rank 12 within {ALIKE:g}; contradicted where one is further off, "
        "better or worse",
    )
    higher = tuple(preset for rank, preset in RANKS.items() if rank > 12)
    found = _scores(groups, scores, higher, BEST, _WITHIN)
    return _decided(claim, found, _lacking(groups, (BEST, *higher)))


def rank_is_cheap(groups: StudyGroups, _: Sample | None = None) -> Finding:
    """Memory and speed of every rank against the smallest one's."""
    claim = Claim(
        "rank-cost",
        "rank hardly moves memory and speed",
        f"memory and steps a second of every DoRA rank within {COSTS_ALIKE:.0%} of rank 1's (as ratios: between 1/1.2 "
        "and 1.2); contradicted where one is further off",
    )
    ranks = list(groups.ranks.values())
    found = [
        cost_evidence(figure, other, ranks[0], _COSTS_WITHIN)
        for figure in (memory_figure(ranks), SPEED)
        for other in ranks[1:]
    ]
    return _decided(claim, found, _lacking(groups, tuple(RANKS.values())))


def memory_not_compute(groups: StudyGroups, _: Sample | None = None) -> Finding:
    """Memory, time and energy of a step of the adapters against full fine-tuning's."""
    claim = Claim(
        "memory-not-compute",
        "adapters are memory-efficient but not compute-efficient",
        f"against {FULL}, memory of {LORA} and {BEST} down by more than a third, time of a step (and its energy, where "
        "it was measured) by less; contradicted where it is the other way round",
    )
    full = groups.rows.get(FULL)
    adapters = [groups.rows[preset] for preset in (LORA, BEST) if preset in groups.rows]
    found = []
    if full is not None:
        memory, energy = memory_figure([full, *adapters]), energy_figure([full, *adapters])
        compute = [STEP_TIME, energy] if energy else [STEP_TIME]
        found = [cost_evidence(memory, one, full, Region(high=-SAVED)) for one in adapters]
        found += [cost_evidence(figure, one, full, Region(low=-SAVED)) for figure in compute for one in adapters]
    return _decided(claim, found, _lacking(groups, (FULL, LORA, BEST)))


def augmentation_hurts(groups: StudyGroups, scores: Sample | None) -> Finding:
    """Dev Avg of groups on augmented data against the same specs without."""
    claim = Claim(
        "augmentation",
        "augmentation hurts",
        "Dev Avg on augmented data less that of the same spec without below 0; contradicted where it is surely above "
        f"-{ALIKE:g}",
    )
    region = Region(high=0.0, against=-ALIKE)
    found = [score_evidence(scores, augmented, without, region) for without, augmented in groups.augmented]
    return _decided(claim, found, () if found else ("a row on augmented data, and the same without",))


def gap_grows(groups: StudyGroups, _: Sample | None = None) -> Finding:
    """Train less dev at the last epoch, over DoRA's ranks."""
    claim = Claim(
        "gap",
        "the train-dev gap grows with rank",
        "a line through the gaps of all DoRA runs at their last epoch, over the logarithm of the rank, rises from the "
        f"smallest rank to the largest; contradicted where it surely rises by less than {ALIKE:g}, or falls",
    )
    ranks = groups.ranks
    points = [
        (math.log2(rank), value)
        for rank, one in ranks.items()
        for record in one.records
        if (value := gaps(record).get(record.run.epochs_done)) is not None
    ]
    found = []
    if len(ranks) > 1:
        low, high = min(ranks), max(ranks)
        rise = slope([x for x, _ in points], [y for _, y in points], math.log2(high / low))
        region = Region(low=0.0, against=ALIKE)
        lacks = None if rise else "too few runs with scores on train"
        found = [Evidence("train-dev gap", f"rank {high}", f"rank {low}", rise, region, lacks)]
    return _decided(claim, found, _lacking(groups, tuple(RANKS.values())))


CHECKS: tuple[Callable[[StudyGroups, Sample | None], Finding], ...] = (
    adapters_match,
    dora_is_best,
    plateau,
    rank_is_cheap,
    memory_not_compute,
    augmentation_hurts,
    gap_grows,
)


def _scores(
    groups: StudyGroups, scores: Sample | None, presets: Sequence[str], baseline: str, region: Region
) -> list[Evidence]:
    rows = groups.rows
    there = [preset for preset in presets if preset in rows and baseline in rows]
    return [score_evidence(scores, rows[preset], rows[baseline], region) for preset in there]


def _lacking(groups: StudyGroups, presets: Sequence[str]) -> tuple[str, ...]:
    return tuple(preset for preset in presets if preset not in groups.rows)


def _decided(claim: Claim, evidence: Sequence[Evidence], lacks: Sequence[str]) -> Finding:
    said = weighed(evidence)
    standing: Standing = "undecided"
    if any(one.speaks == "against" for one in said):
        standing = "contradicted"
    elif said and not lacks and all(one.speaks == "for" for one in said):
        standing = "reproduced"
    return Finding(claim, standing, said, tuple(lacks))
