"""The study's nine claims, each tested on stored groups: reproduced, contradicted or undecided, with the evidence.

An equivalence claim needs every 95 % confidence interval inside a stated margin; failing to detect a difference is
never enough. A claim is reproduced if all of its evidence supports it and none is missing, and contradicted if some
evidence speaks against it (`evidence`). A claim that holds by construction and was not tested by stored groups is
marked as such. Pure functions over groups of one workload.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from peftbench.analysis.groups import records_of
from peftbench.analysis.scores import DEV_AVG
from peftbench.analysis.stats.bootstrap import ScoreSample, score_sample_of
from peftbench.analysis.stats.estimate import slope
from peftbench.analysis.trajectory import gaps
from peftbench.study.evidence import (
    SPEED,
    STEP_TIME,
    Evidence,
    Region,
    cost_evidence,
    energy_figure,
    memory_figure,
    middle_evidence,
    order_evidence,
    power_figure,
    score_evidence,
    weighed,
)
from peftbench.study.groups import BEST, FULL, HEADS, LORA, RANKS, StudyGroups

Standing = Literal["reproduced", "contradicted", "undecided", "by construction"]
ALIKE = 0.02  # equivalence margin of Dev Avg, and of the train-dev gap
COSTS_ALIKE = 0.2  # margin of memory and speed; the study's own memory grows by 14 % from rank 1 to 128
ORDER_TEST = "tests/training/test_task_order.py"
_REORDERED = "two groups that differ only in the order of their tasks"
_NO_POWER = "no power was measured in training: all of these runs need a GPU with NVML, or a CPU with RAPL"
SAVED = 1 / 3  # "efficient" means a third less; the study saves 53 % of memory and 24 % of energy
_WITHIN = Region(-ALIKE, ALIKE)
_NOT_BELOW = Region(low=-ALIKE)
_COSTS_WITHIN = Region(1 / (1 + COSTS_ALIKE) - 1, COSTS_ALIKE)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the study, and the rule by which stored groups are tested against it, with its margins."""

    number: int
    key: str
    text: str
    rule: str


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """The result of testing a claim on groups. `lacks`: required groups that are not in the database."""

    claim: Claim
    standing: Standing
    evidence: tuple[Evidence, ...]
    lacks: tuple[str, ...]


def findings(groups: StudyGroups) -> tuple[ClaimResult, ...]:
    """Test every claim on the groups of one workload; their records must include predictions."""
    scores = score_sample_of(DEV_AVG, records_of(groups.all))
    return tuple(check(groups, scores) for check in CHECKS)


def adapters_match(groups: StudyGroups, scores: ScoreSample | None) -> ClaimResult:
    """Compare Dev Avg of LoRA and DoRA at rank 12 with full fine-tuning."""
    claim = Claim(
        1,
        "adapters-match",
        "adapters match full fine-tuning, or are better",
        f"Dev Avg of {LORA} and {BEST} minus that of {FULL} above -{ALIKE:g}; contradicted if one is below that",
    )
    return _decided(
        claim, _scores(groups, scores, (LORA, BEST), FULL, _NOT_BELOW), _lacking(groups, (FULL, LORA, BEST))
    )


def dora_is_best(groups: StudyGroups, scores: ScoreSample | None) -> ClaimResult:
    """Compare Dev Avg of DoRA at rank 12 with every other row."""
    claim = Claim(
        2,
        "dora-best",
        "DoRA at rank 12 has the best average",
        "its Dev Avg minus that of every other row above 0; contradicted if a row is above it",
    )
    needed = (FULL, LORA, *RANKS.values())
    evidence = [
        score_evidence(scores, groups.rows[BEST], other, Region(low=0.0))
        for preset, other in groups.rows.items()
        if BEST in groups.rows and preset != BEST
    ]
    return _decided(claim, evidence, _lacking(groups, needed))


def plateau(groups: StudyGroups, scores: ScoreSample | None) -> ClaimResult:
    """Compare Dev Avg of each rank up to 12 with the next lower one, and of the ranks above 12 with rank 12."""
    claim = Claim(
        3,
        "plateau",
        "scores rise with the rank up to 12 and level off after it",
        f"Dev Avg of rank 4 minus that of rank 1, and of rank 12 minus that of rank 4, above 0; of ranks 24 and 128 "
        f"minus that of rank 12 within {ALIKE:g}; contradicted if a difference up to rank 12 is below 0, or one above "
        "it outside the margin",
    )
    rising = [preset for rank, preset in RANKS.items() if rank <= 12]
    higher = tuple(preset for rank, preset in RANKS.items() if rank > 12)
    evidence = [
        each
        for before, after in pairwise(rising)
        for each in _scores(groups, scores, (after,), before, Region(low=0.0))
    ]
    evidence += _scores(groups, scores, higher, BEST, _WITHIN)
    return _decided(claim, evidence, _lacking(groups, tuple(RANKS.values())))


def rank_is_cheap(groups: StudyGroups, _: ScoreSample | None = None) -> ClaimResult:
    """Compare memory and speed of every rank with the smallest one."""
    claim = Claim(
        4,
        "rank-cost",
        "rank hardly moves memory and speed",
        f"memory and steps per second of every DoRA rank within {COSTS_ALIKE:.0%} of rank 1 (as ratios: between 1/1.2 "
        "and 1.2); contradicted if one is outside",
    )
    ranks = list(groups.ranks.values())
    evidence = [
        cost_evidence(figure, other, ranks[0], _COSTS_WITHIN)
        for figure in (memory_figure(ranks), SPEED)
        for other in ranks[1:]
    ]
    return _decided(claim, evidence, _lacking(groups, tuple(RANKS.values())))


def memory_not_compute(groups: StudyGroups, _: ScoreSample | None = None) -> ClaimResult:
    """Compare memory of the adapters with both baselines, and time and energy of a step with full fine-tuning."""
    claim = Claim(
        5,
        "memory-not-compute",
        "adapters need memory near the last layer's and time near full fine-tuning's: memory-efficient, not "
        "compute-efficient",
        f"memory of {LORA} and {BEST} more than a third below that of {FULL}, and below the geometric mean of {HEADS} "
        f"and {FULL}; time of a step (and its energy, if measured) less than a third below; contradicted if it is the "
        "other way round",
    )
    full, heads = groups.rows.get(FULL), groups.rows.get(HEADS)
    adapters = [groups.rows[preset] for preset in (LORA, BEST) if preset in groups.rows]
    evidence = []
    if full is not None:
        every = [full, *adapters, *((heads,) if heads else ())]
        memory, energy = memory_figure(every), energy_figure([full, *adapters])
        compute = [STEP_TIME, energy] if energy else [STEP_TIME]
        evidence = [cost_evidence(memory, adapter, full, Region(high=-SAVED)) for adapter in adapters]
        if heads is not None:
            evidence += [middle_evidence(memory, adapter, heads, full, Region(high=0.0)) for adapter in adapters]
        evidence += [
            cost_evidence(figure, adapter, full, Region(low=-SAVED)) for figure in compute for adapter in adapters
        ]
    return _decided(claim, evidence, _lacking(groups, (HEADS, FULL, LORA, BEST)))


def less_power(groups: StudyGroups, _: ScoreSample | None = None) -> ClaimResult:
    """Compare power in training of LoRA and every DoRA rank with full fine-tuning."""
    claim = Claim(
        6,
        "power",
        "adapters draw less power than full fine-tuning",
        f"power in training (GPU, from NVML; without a GPU, CPU, from RAPL) of {LORA} and of every DoRA rank below "
        f"that of {FULL}; contradicted if one is above",
    )
    presets = (LORA, *RANKS.values())
    full = groups.rows.get(FULL)
    adapters = [groups.rows[preset] for preset in presets if preset in groups.rows]
    evidence = []
    if full is not None and adapters:
        figure = power_figure([full, *adapters])
        region = Region(high=0.0)
        if figure is None:
            evidence = [
                Evidence("power in training", adapter.label, full.label, None, region, _NO_POWER)
                for adapter in adapters
            ]
        else:
            evidence = [cost_evidence(figure, adapter, full, region) for adapter in adapters]
    return _decided(claim, evidence, _lacking(groups, (FULL, *presets)))


def augmentation_hurts(groups: StudyGroups, scores: ScoreSample | None) -> ClaimResult:
    """Compare each task's score on augmented data with the same spec without augmentation."""
    claim = Claim(
        7,
        "augmentation",
        "augmentation lowers every task's score",
        "each task's score on augmented data minus that of the same spec without, below 0; contradicted if one is "
        f"significantly above -{ALIKE:g}",
    )
    region = Region(high=0.0, against=-ALIKE)
    tasks = scores.parts if scores else ()
    evidence = [
        score_evidence(of_task, augmented, without, region, of_task.name)
        for without, augmented in groups.augmented
        for of_task in tasks
    ]
    lacks = () if groups.augmented else ("a row on augmented data, and the same without",)
    return _decided(claim, evidence, lacks)


def gap_grows(groups: StudyGroups, _: ScoreSample | None = None) -> ClaimResult:
    """Test the slope over the DoRA ranks of train minus dev at the last epoch."""
    claim = Claim(
        8,
        "gap",
        "the train-dev gap grows with rank",
        "a line fitted to the gaps of all DoRA runs at their last epoch over the logarithm of the rank rises from the "
        f"smallest to the largest rank; contradicted if it falls, or rises significantly less than {ALIKE:g}",
    )
    ranks = groups.ranks
    points = [
        (math.log2(rank), value)
        for rank, group in ranks.items()
        for record in group.records
        if (value := gaps(record).get(record.run.epochs_done)) is not None
    ]
    evidence = []
    if len(ranks) > 1:
        low, high = min(ranks), max(ranks)
        rise = slope([x for x, _ in points], [y for _, y in points], math.log2(high / low))
        region = Region(low=0.0, against=ALIKE)
        lacks = None if rise else "too few runs with scores on train"
        evidence = [Evidence("train-dev gap", f"rank {high}", f"rank {low}", rise, region, lacks)]
    return _decided(claim, evidence, _lacking(groups, tuple(RANKS.values())))


def order_is_nothing(groups: StudyGroups, _: ScoreSample | None = None) -> ClaimResult:
    """Test whether runs with task-specific adapters that differ only in the task order are bit-identical."""
    claim = Claim(
        9,
        "task-order",
        "the order of the tasks within an epoch does not matter to task-specific adapters",
        "in two stored groups that differ only in the order of their tasks, every score, loss and dev prediction of "
        "the same seed is bit-identical (on a CPU, under the same conditions); without such groups it is not tested on "
        f"runs: no trained weight is shared by two tasks, and {ORDER_TEST} compares two orders bit by bit",
    )
    finding = _decided(claim, [order_evidence(*pair) for pair in groups.reordered], ())
    if any(item.estimate is not None for item in finding.evidence):
        return finding
    return ClaimResult(claim, "by construction", finding.evidence, (_REORDERED,))


CHECKS: tuple[Callable[[StudyGroups, ScoreSample | None], ClaimResult], ...] = (
    adapters_match,
    dora_is_best,
    plateau,
    rank_is_cheap,
    memory_not_compute,
    less_power,
    augmentation_hurts,
    gap_grows,
    order_is_nothing,
)


def _scores(
    groups: StudyGroups, scores: ScoreSample | None, presets: Sequence[str], baseline: str, region: Region
) -> list[Evidence]:
    rows = groups.rows
    available = [preset for preset in presets if preset in rows and baseline in rows]
    return [score_evidence(scores, rows[preset], rows[baseline], region) for preset in available]


def _lacking(groups: StudyGroups, presets: Sequence[str]) -> tuple[str, ...]:
    return tuple(preset for preset in presets if preset not in groups.rows)


def _decided(claim: Claim, evidence: Sequence[Evidence], lacks: Sequence[str]) -> ClaimResult:
    judged = weighed(evidence)
    standing: Standing = "undecided"
    if any(item.speaks == "against" for item in judged):
        standing = "contradicted"
    elif judged and not lacks and all(item.speaks == "for" for item in judged):
        standing = "reproduced"
    return ClaimResult(claim, standing, judged, tuple(lacks))
