"""Differences over the folds of a cross-validation, with the variance corrected for overlapping training sets.

In k-fold cross-validation every fold is tested once, by a model trained on most of the others. The training sets
overlap, so the folds' differences d_f depend on each other, and their sample variance S^2 over k is too small for the
variance of their mean. Nadeau and Bengio (2003, "Inference for the generalization error", Machine Learning 52) estimate

    Var(mean of d_f) = (1 / k + n_test / n_train) S^2,    S^2 = sum (d_f - mean)^2 / (k - 1)

which takes n_test / (n_test + n_train) for the correlation of two folds' differences, and test it with Student's t of
k - 1 degrees of freedom. (Derived for random divisions; there is no unbiased estimate for one division in folds: Bengio
and Grandvalet 2004.)
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from peftbench.analysis.scores import DEV_AVG
from peftbench.analysis.stats.interval import VarianceComponents
from peftbench.metrics import averaged
from peftbench.store.rows import RunRecord, ScoredSplit

FEWEST = 3  # folds that both sides have: with fewer, the variance is known with one degree of freedom
SOURCE = "corrected for overlapping training sets (Nadeau and Bengio 2003)"
_ROUNDING = 1e-12  # of scores: differences no farther apart are the same


@dataclass(frozen=True, slots=True)
class FoldSample:
    """A metric of several runs, each on the fold that it tested.

    `values` [runs]: the metric; `fold_of` [runs]: the fold, from 0; `folds`: their number k in the division.
    `ids` [runs]: those of the tested examples; of several tasks, of each. `examples` [runs]: their number. `share`
    [runs]: tested examples over those that were trained on, n_test / n_train; of several tasks the largest.
    `left_out`: by run id, why a run is not in the sample.
    """

    name: str  # a task, or one of AVERAGES
    metric: str
    folds: int
    runs: tuple[str, ...]  # ids
    values: tuple[float, ...]
    fold_of: tuple[int, ...]
    ids: tuple[Hashable, ...]
    examples: tuple[int, ...]
    share: tuple[float, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def by_fold(self, runs: Sequence[str]) -> dict[int, float] | None:
        """Return the mean over the runs (seeds) of each fold; None where a run is not in the sample."""
        where = {run: at for at, run in enumerate(self.runs)}
        if not runs or not all(run in where for run in runs):
            return None
        of: dict[int, list[float]] = {}
        for run in runs:
            of.setdefault(self.fold_of[where[run]], []).append(self.values[where[run]])
        return {fold: math.fsum(values) / len(values) for fold, values in sorted(of.items())}

    def mean(self, runs: Sequence[str]) -> float | None:
        """Return the mean over folds of the mean over seeds; None where a run is not in the sample."""
        values = self.by_fold(runs)
        return None if values is None else math.fsum(values.values()) / len(values)


@dataclass(frozen=True, slots=True)
class Folds:
    """How a difference was made from folds: those that both sides have, of `k`, and those that a side lacks.

    `share`: n_test / n_train. All folds are counted from 0.
    """

    k: int
    common: tuple[int, ...]
    lacking: tuple[int, ...]
    share: float


@dataclass(frozen=True, slots=True)
class FoldDifference:
    """The mean difference over the common folds, with its corrected variance, and each side's mean over them."""

    values: tuple[float, float]
    difference: float
    noise: VarianceComponents
    examples: int  # tested in all common folds together
    folds: Folds


def corrected_variance(differences: Sequence[float], share: float) -> float:
    """Return the variance of the mean of the folds' differences: (1 / k + n_test / n_train) S^2.

    Args:
        differences: d_f, `[k]`, one for each fold, k >= 2.
        share: n_test / n_train.
    """
    k = len(differences)
    mean = math.fsum(differences) / k
    squares = math.fsum((value - mean) ** 2 for value in differences) / (k - 1)
    return (1 / k + share) * squares


def fold_difference(sample: FoldSample, baseline: Sequence[str], other: Sequence[str]) -> FoldDifference | str:
    """Return the difference of two groups, other less baseline; or, as text, why there is none.

    Args:
        sample: contains the runs of both.
        baseline: run ids of the first group, of any seeds and folds.
        other: run ids of the second.
    """
    first, second = sample.by_fold(baseline), sample.by_fold(other)
    if first is None or second is None:
        reasons = dict.fromkeys(reason for run in (*baseline, *other) if (reason := sample.left_out.get(run)))
        return ", ".join(reasons) or "one of its tasks cannot be compared"
    common = tuple(fold for fold in first if fold in second)
    if len(common) < FEWEST:
        return f"{len(common)} of {sample.folds} folds in common: the variance between folds is known from {FEWEST} on"
    members = [at for at, run in enumerate(sample.runs) if run in {*baseline, *other}]
    tested = {fold: [at for at in members if sample.fold_of[at] == fold] for fold in common}
    if any(len({sample.ids[at] for at in of}) > 1 for of in tested.values()):
        return "the folds are not of the same examples"
    apart = [second[fold] - first[fold] for fold in common]
    mean = math.fsum(apart) / len(apart)
    if max(apart) - min(apart) < _ROUNDING:
        if abs(mean) >= _ROUNDING:
            return "the difference is the same in every fold, which leaves no variance to judge it by"
        apart = [0.0] * len(apart)
    # Of unlike shares (folds of whole groups, a limit on one side) the largest: the wider interval.
    share = max(sample.share[at] for of in tested.values() for at in of)
    noise = VarianceComponents(corrected_variance(apart, share), len(common) - 1.0, 0.0)
    values = [math.fsum(side[fold] for fold in common) / len(common) for side in (first, second)]
    examples = sum(sample.examples[of[0]] for of in tested.values())
    lacking = tuple(fold for fold in range(sample.folds) if fold not in common)
    folds = Folds(sample.folds, common, lacking, share)
    return FoldDifference((values[0], values[1]), values[1] - values[0], noise, examples, folds)


def fold_sample(task: str, records: Sequence[RunRecord], split: ScoredSplit = "test") -> FoldSample | None:
    """Return a task's metric of all runs of one cross-validation, that of the first; None where the first has none.

    A run is left out that is of no cross-validation, or one with another number of folds; and one whose metric is
    undefined (constant predictions have no Pearson r) or another.
    """
    first, score = records[0].run, records[0].score(task, split)
    if first.folds is None or score is None:
        return None
    left_out: dict[str, str] = {}
    rows: list[tuple[str, float, int, Hashable, int, float]] = []
    for record in records:
        own = record.score(task, split)
        if record.run.folds != first.folds:
            left_out[record.run.id] = f"{of_folds(record.run.folds)} against {of_folds(first.folds)}"
        elif own is None or record.run.fold is None:
            left_out[record.run.id] = f"no {split} score"
        elif own.metric != score.metric:
            left_out[record.run.id] = f"another metric ({own.metric})"
        elif own.value is None:
            left_out[record.run.id] = own.reason or f"no {split} score"
        else:
            ids = frozenset(row.example_id for row in record.predictions_on(split).get(task, ()))
            share = _share(record, task, split)
            rows.append((record.run.id, own.value, record.run.fold, ids, own.examples, share))
    if not rows:
        return None
    runs, values, fold_of, ids_of, examples, shares = zip(*rows, strict=True)
    return FoldSample(
        task, score.metric, first.folds, runs, values, fold_of, ids_of, examples, shares, left_out=left_out
    )


def average_of_tasks(parts: Sequence[FoldSample], name: str = DEV_AVG) -> FoldSample | None:
    """Return the mean of several tasks' metrics, for the runs that all of them contain; `name` is one of AVERAGES.

    Errors are left out, as in `bootstrap.average`.
    """
    kept = averaged({part.name: part.metric for part in parts})
    parts = [part for part in parts if part.name in kept]
    runs = tuple(run for run in parts[0].runs if all(run in part.runs for part in parts)) if parts else ()
    if not runs:
        return None
    of_runs = [[(part, part.runs.index(run)) for part in parts] for run in runs]
    return FoldSample(
        name=name,
        metric=parts[0].metric if len(parts) == 1 else "mean",
        folds=parts[0].folds,
        runs=runs,
        values=tuple(math.fsum(part.values[at] for part, at in own) / len(parts) for own in of_runs),
        fold_of=tuple(own[0][0].fold_of[own[0][1]] for own in of_runs),
        ids=tuple(tuple(part.ids[at] for part, at in own) for own in of_runs),
        examples=tuple(sum(part.examples[at] for part, at in own) for own in of_runs),
        share=tuple(max(part.share[at] for part, at in own) for own in of_runs),
        left_out={run: reason for part in parts for run, reason in part.left_out.items()},
    )


def of_folds(folds: int | None) -> str:
    """Return how runs were divided, as text: the number of folds, or none."""
    return "no cross-validation" if folds is None else f"{folds} folds"


def _share(record: RunRecord, task: str, split: ScoredSplit) -> float:
    """Return n_test / n_train of a run: as recorded, else of equal folds."""
    sizes = (record.run.conditions.get("fold_examples") or {}).get(task) or {}
    if sizes.get("train") and sizes.get(split):
        return sizes[split] / sizes["train"]
    return 1 / ((record.run.folds or FEWEST) - 2)
