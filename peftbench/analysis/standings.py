"""Groups of one workload in the order of their scores, with what tells them apart, and what each costs.

Two groups are told apart where the verdict on their difference says so, over all pairs, corrected by Holm. A `tie` is a
longest stretch of neighbours of which no two are told apart: the brackets of a league table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from peftbench.analysis.cost import cost
from peftbench.analysis.groups import Group, Spread, records_of, same_seeds, spread
from peftbench.analysis.marks import TOLD_APART
from peftbench.analysis.pareto import AXES
from peftbench.analysis.scores import AVERAGES, DEV_AVG, scored_split
from peftbench.analysis.stats.bootstrap import ScoreSample, score_sample_of
from peftbench.analysis.stats.difference import MetricDifference, corrected, difference
from peftbench.analysis.stats.estimate import Estimate, level
from peftbench.metrics import sign_of
from peftbench.store.rows import ScoredSplit

COSTS = ("vram", "rss", "time", "energy", "weights")  # of `pareto.AXES`


@dataclass(frozen=True, slots=True)
class Standing:
    """A group, its mean score with the 95 % interval, and its costs; None: not measured in every run.

    on_front: no other group costs no more (in the memory that was measured) and scores no less, by the means.
    """

    group: Group
    score: Estimate
    costs: Mapping[str, Spread | None]
    on_front: bool


@dataclass(frozen=True, slots=True)
class Standings:
    """Groups, the best first.

    ties: first and last row of each stretch of at least two that are not told apart.
    left_out: groups without a place, with the reason.
    memory: the cost that the front is of, `vram` or `rss`.
    """

    workload: str
    metric: str
    split: ScoredSplit
    rows: tuple[Standing, ...]
    ties: tuple[tuple[int, int], ...]
    left_out: tuple[tuple[str, str], ...]
    memory: str

    def ranks(self) -> tuple[int, ...]:
        """Return the rank of each row: that of the first row of the first tie that it is in."""
        first = [min([at, *(low for low, high in self.ties if low <= at <= high)]) for at in range(len(self.rows))]
        return tuple(at + 1 for at in first)


def standings(groups: Sequence[Group], metric: str = DEV_AVG) -> Standings:
    """Return the standings of groups of one workload. Records must come with their predictions.

    Args:
        groups: of one workload; those without a finished epoch, and cross-validations, are left out.
        metric: a task, or an average; an average is that of the split on which the groups are compared.
    """
    left_out = [(group.label, reason) for group in groups if (reason := _no_place(group)) is not None]
    placed = [group for group in groups if _no_place(group) is None]
    split = scored_split(records_of(placed))
    metric = AVERAGES[split] if metric in AVERAGES.values() else metric
    made = score_sample_of(metric, records_of(placed), split) if placed else None
    workload = groups[0].first.workload if groups else ""
    memory = "vram" if any(cost(record).vram_mib is not None for record in records_of(placed)) else "rss"
    if made is None:
        left_out += [(group.label, "no such metric") for group in placed]
        return Standings(workload, metric, split, (), (), tuple(left_out), memory)
    levels = [(group, score) for group in placed if (score := level(made, group.ids)) is not None]
    scored = {group.label for group, _ in levels}
    left_out += [(group.label, _reason(made, group)) for group in placed if group.label not in scored]
    sign = sign_of(made.metric)
    levels.sort(key=lambda pair: -sign * pair[1].value)
    costs = [costs_of(group) for group, _ in levels]
    points = [(own[memory], score.value) for own, (_, score) in zip(costs, levels, strict=True)]
    rows = tuple(
        Standing(group, score, own, _is_on_front(at, points, sign))
        for at, ((group, score), own) in enumerate(zip(levels, costs, strict=True))
    )
    ties = _ties(made, [group for group, _ in levels])
    return Standings(workload, metric, split, rows, ties, tuple(left_out), memory)


def costs_of(group: Group) -> dict[str, Spread | None]:
    """Return a group's costs, by their name in `pareto.AXES`."""
    spent = [(record, cost(record)) for record in group.records]
    return {name: spread(AXES[name][2](*each) for each in spent) for name in COSTS}


def _no_place(group: Group) -> str | None:
    if group.first.folds is not None:
        return "a cross-validation: its runs have no examples in common"
    if any(record.run.best_epoch is None for record in group.records):
        return "no finished epoch"
    return None


def _reason(made: ScoreSample, group: Group) -> str:
    reasons = dict.fromkeys(reason for run in group.ids if (reason := made.left_out.get(run)))
    return ", ".join(reasons) or "no such metric"


def _is_on_front(at: int, points: Sequence[tuple[Spread | None, float]], sign: int) -> bool:
    """Tell whether no other point costs no more and scores no less, one of the two strictly."""
    spent, value = points[at]
    if spent is None:
        return False
    return not any(
        other is not None
        and other.mean <= spent.mean
        and sign * score >= sign * value
        and (other.mean < spent.mean or sign * score > sign * value)
        for other, score in points
    )


def _ties(made: ScoreSample, groups: Sequence[Group]) -> tuple[tuple[int, int], ...]:
    """Return the longest stretches of neighbours of which no two are told apart."""
    pairs: list[tuple[int, int]] = []
    rows: list[MetricDifference] = []
    for one, other in combinations(range(len(groups)), 2):
        row = difference(made, groups[one].ids, groups[other].ids, same_seeds(groups[one], groups[other]))
        if row is not None:
            pairs.append((one, other))
            rows.append(row)
    apart = {pair for pair, row in zip(pairs, corrected(rows), strict=True) if row.verdict in TOLD_APART}
    stretches: list[tuple[int, int]] = []
    for first in range(len(groups)):
        last = first
        while last + 1 < len(groups) and not any((at, last + 1) in apart for at in range(first, last + 1)):
            last += 1
        if last > first and not (stretches and stretches[-1][1] >= last):
            stretches.append((first, last))
    return tuple(stretches)
