"""Groups of runs side by side, the first as baseline: what differs between them, what that did, and if it is chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from peftbench.analysis.comparability import Difference, settings
from peftbench.analysis.difference import MetricDifference, corrected, difference, interval
from peftbench.analysis.dynamics import Dynamics, dynamics
from peftbench.analysis.groups import Group, Spread, group, records_of, spread
from peftbench.analysis.interval import ALPHA
from peftbench.analysis.noise import noise_of
from peftbench.analysis.outlook import outlook
from peftbench.analysis.samples import DEV_AVG, Sample, average, sample
from peftbench.analysis.settings import labels
from peftbench.analysis.spending import FIGURES, CostDifference, Spending, cost_difference, p_of_means, spending
from peftbench.errors import RefusedError, UsageError, did_you_mean
from peftbench.store.rows import RunRecord
from peftbench.text import clean

LEADERBOARD = "leaderboard"


@dataclass(frozen=True, slots=True)
class Against:
    """A group held against the baseline: in metrics (corrected by Holm for their number) and in cost.

    `left_out` says of a metric why it could not be compared.
    """

    group: Group
    metrics: tuple[MetricDifference, ...]
    costs: tuple[CostDifference, ...]
    left_out: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Groups side by side; the first is the baseline. `best` holds the places of the groups that share the first rank.

    A group shares it where it is not detectably behind the one with the best mean (95 %, uncorrected).
    """

    groups: tuple[Group, ...]
    settings: tuple[Difference, ...]  # all; `differences` are those that differ
    metrics: tuple[str, ...]
    scores: tuple[dict[str, Spread | None], ...]
    spendings: tuple[Spending, ...]
    dynamics: tuple[Dynamics, ...]
    against: tuple[Against, ...]
    best: dict[str, frozenset[int]]

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """Every run, group by group."""
        return tuple(record for one in self.groups for record in one.records)

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The settings and circumstances in which the groups differ; unfair ones first."""
        return tuple(each for each in self.settings if each.standing != "same")

    @property
    def unfair(self) -> tuple[Difference, ...]:
        """The differences that a reader must know before any figure."""
        return tuple(each for each in self.settings if each.unfair)


def compare(sides: Sequence[Group | RunRecord | Sequence[RunRecord]], metrics: Sequence[str] = ()) -> Comparison:
    """Compare groups of runs, the first as baseline. Records must come with their predictions.

    Args:
        sides: groups; a single run is a group of its own, several records are one together.
        metrics: the tasks, or `dev_avg`, to compare; all of the baseline's and Dev Avg where none is given.

    Raises:
        RefusedError: they are of different workloads, or one has no finished epoch.
        UsageError: the baseline has no such metric, or a run is on two sides.
    """
    groups = _as_groups(sides)
    _check(groups)
    chosen = _chosen(groups[0], metrics)
    samples = _samples(groups, chosen)
    spendings = tuple(spending(one) for one in groups)
    return Comparison(
        groups=groups,
        settings=tuple(settings(groups)),
        metrics=chosen,
        scores=tuple(_scores(one) for one in groups),
        spendings=spendings,
        dynamics=tuple(dynamics(one) for one in groups),
        against=tuple(
            _against(groups[0], one, samples, chosen, spendings[0], spent)
            for one, spent in zip(groups[1:], spendings[1:], strict=True)
        ),
        best={
            **{name: _best_scores(found, groups) for name, found in samples.items()},
            **{name: _cheapest([spent.figures[name] for spent in spendings]) for name in FIGURES},
        },
    )


def same_seeds(a: Group, b: Group) -> bool:
    """Tell whether runs are paired by seed: the same seeds on both sides, each once.

    Where a side has seeds that the other lacks, all runs count and none is paired: with few seeds, leaving some out
    costs more than pairs gain.
    """
    return a.seeds == b.seeds and len(set(a.seeds)) == len(a.seeds)


def _as_groups(sides: Sequence[Group | RunRecord | Sequence[RunRecord]]) -> tuple[Group, ...]:
    """Return sides as groups: a run by its name, several by their preset and what tells it from the others'."""
    if not all(isinstance(side, RunRecord | Group) or side for side in sides):
        raise UsageError("a side of the comparison has no run")
    of = [
        side.records if isinstance(side, Group) else [side] if isinstance(side, RunRecord) else side for side in sides
    ]
    names = labels([records[0].run for records in of])
    return tuple(
        side if isinstance(side, Group) else group(records[0].run.name if len(records) == 1 else name, records)
        for side, records, name in zip(sides, of, names, strict=True)
    )


def _check(groups: Sequence[Group]) -> None:
    records = records_of(groups)
    workloads = {record.run.workload for record in records}
    if len(workloads) > 1:
        raise RefusedError(
            f"these runs are of different workloads: {', '.join(sorted(workloads))}",
            "scores on different data say nothing about the methods",
        )
    unscored = [record.run.name for record in records if record.run.best_epoch is None]
    if unscored:
        raise RefusedError(f"no finished epoch to compare: {', '.join(unscored)}")
    for one in groups:
        for other in groups:
            if one is not other and len(one.records) + len(other.records) > 2 and set(one.ids) & set(other.ids):
                shared = next(record.run.name for record in one.records if record.run.id in other.ids)
                raise UsageError(
                    f"run {clean(shared)} is both in {clean(one.label)} and in {clean(other.label)}",
                    "a run stands on one side only",
                )


def _chosen(baseline: Group, metrics: Sequence[str]) -> tuple[str, ...]:
    tasks = baseline.records[0].tasks
    known = (*tasks, DEV_AVG) if len(tasks) > 1 else tasks
    for name in metrics:
        if name not in known:
            raise UsageError(
                f"no metric '{clean(name)}' here{did_you_mean(name, known)}", f"metrics: {', '.join(map(clean, known))}"
            )
    return tuple(name for name in known if name in metrics) if metrics else known


def _samples(groups: Sequence[Group], metrics: Sequence[str]) -> dict[str, Sample]:
    records = records_of(groups)
    tasks = groups[0].records[0].tasks
    wanted = tasks if DEV_AVG in metrics else [task for task in tasks if task in metrics]
    found = {task: made for task in wanted if (made := sample(task, records)) is not None}
    if DEV_AVG in metrics and len(found) == len(tasks) and (mean := average(list(found.values()))) is not None:
        found[DEV_AVG] = mean
    return {name: made for name, made in found.items() if name in metrics}


def _scores(one: Group) -> dict[str, Spread | None]:
    found = {
        task: spread(score.value if (score := record.score(task)) else None for record in one.records)
        for task in one.records[0].tasks
    }
    found[DEV_AVG] = spread(record.run.dev_avg for record in one.records)
    found[LEADERBOARD] = spread(record.run.leaderboard for record in one.records)
    return found


def _against(
    baseline: Group,
    other: Group,
    samples: dict[str, Sample],
    metrics: Sequence[str],
    spent_before: Spending,
    spent: Spending,
) -> Against:
    paired = same_seeds(baseline, other)
    found, left_out = [], []
    for name in metrics:
        made = samples.get(name)
        one = difference(made, baseline.ids, other.ids, paired) if made else None
        if one is None:
            left_out.append((name, _why_not(made, (*baseline.ids, *other.ids))))
        else:
            found.append(replace(one, outlook=outlook(one.difference, one.noise, one.runs, one.paired)))
    costs = (cost_difference(figure, spent_before, spent) for figure in FIGURES)
    return Against(other, corrected(found), tuple(each for each in costs if each), tuple(left_out))


def _why_not(made: Sample | None, ids: Sequence[str]) -> str:
    if made is None:
        return "the baseline has no such metric, or no predictions"
    reasons = dict.fromkeys(why for run in ids if (why := made.left_out.get(run)))
    return ", ".join(reasons) or "a task of it cannot be compared"


def _best_scores(made: Sample, groups: Sequence[Group]) -> frozenset[int]:
    """Return the groups that are not detectably worse than the best; nothing where only one can be judged."""
    inside = {place: at for place, one in enumerate(groups) if (at := made.places(one.ids)) is not None}
    if len(inside) < 2:
        return frozenset()
    best = max(inside, key=lambda place: float(made.values[inside[place]].mean()))
    return frozenset(place for place in inside if place == best or not _behind(made, groups, inside, best, place))


def _behind(made: Sample, groups: Sequence[Group], inside: dict[int, list[int]], best: int, place: int) -> bool:
    first, second = inside[best], inside[place]
    less = float(made.values[second].mean() - made.values[first].mean())
    noise = noise_of(made, first, second, same_seeds(groups[best], groups[place]))
    return interval(made, first, second, less, noise)[1] < 0


def _cheapest(figures: Sequence[Spread | None]) -> frozenset[int]:
    """Return the groups that are not detectably dearer than the cheapest; nothing where a side has one run only."""
    known = {place: figure for place, figure in enumerate(figures) if figure is not None}
    if len(known) < 2 or any(figure.sd is None for figure in known.values()):
        return frozenset()
    best = min(known, key=lambda place: known[place].mean)
    return frozenset(
        place for place in known if place == best or (p_of_means(known[best], known[place]) or 0.0) > ALPHA
    )
