"""Comparison of groups of runs, the first as baseline: settings, scores, cost, dynamics and tests of significance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from peftbench.analysis.comparability import SettingDifference, settings
from peftbench.analysis.cost_comparison import FIGURES, CostDifference, GroupCost, cost_difference, group_cost
from peftbench.analysis.dynamics import Dynamics, dynamics
from peftbench.analysis.groups import Group, Spread, group_of, records_of, same_seeds, spread_of
from peftbench.analysis.marks import best_scores, cheapest
from peftbench.analysis.scores import AVERAGES, has_leaderboard, headlines, scored_split, summary
from peftbench.analysis.settings import labels
from peftbench.analysis.stats.bootstrap import ScoreSample, average, score_sample
from peftbench.analysis.stats.difference import MetricDifference, corrected, difference
from peftbench.analysis.stats.folds import FoldSample, average_of_tasks, fold_difference, fold_sample, of_folds
from peftbench.analysis.stats.power import power_analysis
from peftbench.errors import RefusedError, UsageError, did_you_mean
from peftbench.metrics import averaged
from peftbench.store.rows import RunRecord, ScoredSplit
from peftbench.text import clean

LEADERBOARD = "leaderboard"
Samples = dict[str, ScoreSample] | dict[str, FoldSample]
_Sample = TypeVar("_Sample", ScoreSample, FoldSample)


@dataclass(frozen=True, slots=True)
class Against:
    """A group compared with the baseline: in metrics (p-values corrected by Holm over the metrics) and in cost.

    `left_out`: each metric that could not be compared, with the reason.
    """

    group: Group
    metrics: tuple[MetricDifference, ...]
    costs: tuple[CostDifference, ...]
    left_out: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Groups side by side; the first is the baseline. `best` holds, by column, the indices of the first-ranked groups.

    A group shares the first rank where no verdict separates it from the one with the best mean (`marks`).
    """

    groups: tuple[Group, ...]
    settings: tuple[SettingDifference, ...]  # all; `differences` are those that differ
    split: ScoredSplit  # that the scores are of
    metrics: tuple[str, ...]
    scores: tuple[dict[str, Spread | None], ...]
    spendings: tuple[GroupCost, ...]
    dynamics: tuple[Dynamics, ...]
    against: tuple[Against, ...]
    best: dict[str, frozenset[int]]

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """Every run, group by group."""
        return tuple(record for group in self.groups for record in group.records)

    @property
    def differences(self) -> tuple[SettingDifference, ...]:
        """The settings and conditions in which the groups differ; confounding ones first."""
        return tuple(each for each in self.settings if each.standing != "same")

    @property
    def confounding(self) -> tuple[SettingDifference, ...]:
        """The differences that a reader must know before reading any result."""
        return tuple(each for each in self.settings if each.confounding)


def compare(
    sides: Sequence[Group | RunRecord | Sequence[RunRecord]],
    metrics: Sequence[str] = (),
    split: ScoredSplit | None = None,
) -> Comparison:
    """Compare groups of runs, the first as baseline. Records must come with their predictions.

    Scores are those of the test split where every run has them, else those of dev, which also chose the epochs.

    Args:
        sides: groups; a single run is a group of its own, several records form one group.
        metrics: the tasks, or the average of the split (`dev_avg` or `test_avg`), to compare; by default all of them.
        split: whose scores are compared; None: see above.

    Raises:
        RefusedError: the runs are of different workloads, or one has no finished epoch.
        UsageError: the baseline has no such metric, or a run is in two groups.
    """
    groups = _as_groups(sides)
    _check(groups)
    split = split or scored_split(records_of(groups))
    chosen = _chosen(groups[0], metrics, split)
    samples = _samples(groups, chosen, split)
    spendings = tuple(group_cost(group) for group in groups)
    against = tuple(
        _against(groups[0], group, samples, chosen, spendings[0], spent)
        for group, spent in zip(groups[1:], spendings[1:], strict=True)
    )
    return Comparison(
        groups=groups,
        settings=tuple(settings(groups)),
        split=split,
        metrics=chosen,
        scores=tuple(_scores(group, split) for group in groups),
        spendings=spendings,
        dynamics=tuple(dynamics(group) for group in groups),
        against=against,
        best={
            **best_scores(samples, groups, [each.metrics for each in against]),
            **{name: cheapest([spent.figures[name] for spent in spendings]) for name in FIGURES},
        },
    )


def _as_groups(sides: Sequence[Group | RunRecord | Sequence[RunRecord]]) -> tuple[Group, ...]:
    """Return sides as groups: a single run labelled by its name, several by their preset and differing settings."""
    if not all(isinstance(side, RunRecord | Group) or side for side in sides):
        raise UsageError("a group of the comparison has no runs")
    of = [
        side.records if isinstance(side, Group) else [side] if isinstance(side, RunRecord) else side for side in sides
    ]
    names = labels([records[0].run for records in of])
    return tuple(
        side if isinstance(side, Group) else group_of(records[0].run.name if len(records) == 1 else name, records)
        for side, records, name in zip(sides, of, names, strict=True)
    )


def _check(groups: Sequence[Group]) -> None:
    records = records_of(groups)
    workloads = {record.run.workload for record in records}
    if len(workloads) > 1:
        raise RefusedError(
            f"these runs are of different workloads: {', '.join(sorted(workloads))}",
            "scores on different data cannot be compared",
        )
    unscored = [record.run.name for record in records if record.run.best_epoch is None]
    if unscored:
        raise RefusedError(f"no finished epoch to compare: {', '.join(unscored)}")
    for group in groups:
        for other in groups:
            if group is not other and len(group.records) + len(other.records) > 2 and set(group.ids) & set(other.ids):
                shared = next(record.run.name for record in group.records if record.run.id in other.ids)
                raise UsageError(
                    f"run {clean(shared)} is both in {clean(group.label)} and in {clean(other.label)}",
                    "a run can be in one group only",
                )


def _chosen(baseline: Group, metrics: Sequence[str], split: ScoredSplit) -> tuple[str, ...]:
    tasks = baseline.records[0].tasks
    known = (*tasks, AVERAGES[split]) if len(tasks) > 1 else tasks
    for name in metrics:
        if name not in known:
            raise UsageError(
                f"no metric '{clean(name)}' here{did_you_mean(name, known)}", f"metrics: {', '.join(map(clean, known))}"
            )
    return tuple(name for name in known if name in metrics) if metrics else known


def _samples(groups: Sequence[Group], metrics: Sequence[str], split: ScoredSplit) -> Samples:
    """Return the values of all runs by metric; where the baseline is a cross-validation, by fold."""
    if groups[0].first.folds is not None:
        return _of_tasks(groups, metrics, split, fold_sample, average_of_tasks)
    return _of_tasks(groups, metrics, split, score_sample, average)


def _of_tasks(
    groups: Sequence[Group],
    metrics: Sequence[str],
    split: ScoredSplit,
    of_task: Callable[[str, Sequence[RunRecord], ScoredSplit], _Sample | None],
    of_all: Callable[[Sequence[_Sample], str], _Sample | None],
) -> dict[str, _Sample]:
    # A cross-validation and runs of one division, or folds of another number, are not compared.
    records = [record for record in records_of(groups) if record.run.folds == groups[0].first.folds]
    overall = AVERAGES[split]
    tasks = groups[0].records[0].tasks
    wanted = tasks if overall in metrics else [task for task in tasks if task in metrics]
    samples = {task: made for task in wanted if (made := of_task(task, records, split)) is not None}
    in_average = averaged(headlines(groups[0].first))
    if overall in metrics and all(task in samples for task in in_average):
        mean = of_all([samples[task] for task in in_average], overall)
        samples |= {overall: mean} if mean is not None else {}
    return {name: made for name, made in samples.items() if name in metrics}


def _scores(group: Group, split: ScoredSplit) -> dict[str, Spread | None]:
    scores = {
        task: spread_of(group, [score.value if (score := r.score(task, split)) else None for r in group.records])
        for task in group.records[0].tasks
    }
    means, boards = zip(*(summary(record, split) for record in group.records), strict=True)
    scores[AVERAGES[split]] = spread_of(group, means)
    if has_leaderboard(group.records[0].tasks):  # an early version stored one for any set of tasks
        scores[LEADERBOARD] = spread_of(group, boards)
    return scores


def _against(
    baseline: Group,
    other: Group,
    samples: Samples,
    metrics: Sequence[str],
    spent_before: GroupCost,
    spent: GroupCost,
) -> Against:
    paired = same_seeds(baseline, other)
    differences, left_out = [], []
    for name in metrics:
        made = samples.get(name)
        row = difference(made, baseline.ids, other.ids, paired) if made else None
        if row is None:
            left_out.append((name, _reason(made, baseline, other)))
        else:
            differences.append(row)
    differences = [
        replace(
            row,
            outlook=power_analysis(
                row.difference, row.noise, row.runs, row.paired, len(differences), folds=row.folds is not None
            ),
        )
        for row in differences
    ]
    costs = (cost_difference(figure, spent_before, spent) for figure in FIGURES)
    return Against(other, corrected(differences), tuple(each for each in costs if each), tuple(left_out))


def _reason(made: ScoreSample | FoldSample | None, baseline: Group, other: Group) -> str:
    folds = baseline.first.folds, other.first.folds
    if folds[0] != folds[1]:
        return f"{of_folds(folds[1])} against {of_folds(folds[0])}: not trained and tested alike"
    if made is None:
        return "the baseline has no such metric, or no predictions"
    if isinstance(made, FoldSample):
        no_difference = fold_difference(made, baseline.ids, other.ids)
        return no_difference if isinstance(no_difference, str) else ""
    reasons = dict.fromkeys(reason for run in (*baseline.ids, *other.ids) if (reason := made.left_out.get(run)))
    return ", ".join(reasons) or "one of its tasks cannot be compared"
