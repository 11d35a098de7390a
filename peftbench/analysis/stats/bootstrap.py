"""Scores of runs on the same examples, and their covariance over resampled examples: the bootstrap.

The resampling unit is an example, or a whole cluster of examples where the runs name clusters (`clusters`).
All runs are scored on the same resamples, so that what they share cancels in a difference. For accuracy, a mean, the
bootstrap's covariances have a closed form; other metrics are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from peftbench.analysis.outputs import Values, outputs_for, stacked, values
from peftbench.analysis.scores import AVERAGES, DEV_AVG, headlines
from peftbench.analysis.stats.clusters import clusters_of, count_of, summed
from peftbench.analysis.stats.influence import influences
from peftbench.metrics import averaged
from peftbench.store.rows import Label, Prediction, RunRecord, ScoredSplit

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 10_000
MOST_DRAWN = 20_000_000  # examples drawn in total: with many examples, fewer resamples
FEWEST_RESAMPLES = 1_000
_CHUNK = 250
_SEED = 20_402
_MOST_UNDEFINED = 0.05  # part of resamples in which a run's metric may be undefined: the others stand for all


@dataclass(frozen=True, slots=True)
class ScoreSample:
    """A metric of several runs on the same `examples`.

    `values` [runs]; `covariance` [runs, runs] of the values over resampled units; `correct` [runs, examples] of
    accuracy; of other metrics `draws` [resamples, runs], and `influence` [runs, units]: a unit's influence on the
    value, times the number of examples. `clusters` [examples]: each one's cluster index; None: units are examples.
    `left_out`: by run id, why a run is not in the sample.
    """

    name: str  # a task, or one of AVERAGES
    metric: str
    examples: int
    runs: tuple[str, ...]  # ids
    values: np.ndarray
    covariance: np.ndarray
    draws: np.ndarray | None = None
    correct: np.ndarray | None = None
    influence: np.ndarray | None = None
    clusters: np.ndarray | None = None
    parts: tuple[ScoreSample, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def units(self) -> int:
        """The number of resampling units."""
        return sum(part.units for part in self.parts) if self.parts else count_of(self.clusters, self.examples)

    @property
    def clustered(self) -> bool:
        """Whether clusters are resampled, in at least one part."""
        return self.clusters is not None or any(part.clustered for part in self.parts)

    def indices_of(self, ids: Sequence[str]) -> list[int] | None:
        """Return the indices of runs in `values`; None where one of them is missing."""
        where = {run: index for index, run in enumerate(self.runs)}
        return [where[run] for run in ids] if all(run in where for run in ids) else None


def score_sample(task: str, records: Sequence[RunRecord], split: ScoredSplit = "dev") -> ScoreSample | None:
    """Return a task's metric of all runs that predicted the same examples as the first; None where the first has none.

    A run whose metric is undefined (constant predictions have no Pearson r) or another one is left out, too.
    """
    import numpy as np

    first = records[0].predictions_on(split).get(task)
    score = records[0].score(task, split)
    if not first or score is None:
        return None
    left_out: dict[str, str] = {}
    rows: dict[str, Values] = {}
    clusters: np.ndarray | None = None
    for record in records:
        same = _in_order(first, record.predictions_on(split).get(task, ()))
        if same is None:
            left_out[record.run.id] = f"not the same {split} examples"
            continue
        own = clusters_of(same)
        if own is not None and clusters is not None and not np.array_equal(own, clusters):
            left_out[record.run.id] = f"other groups of {split} examples"
            continue
        own_score = record.score(task, split)
        if own_score is not None and own_score.metric != score.metric:
            left_out[record.run.id] = f"another metric ({own_score.metric})"
            continue
        predictions = outputs_for(score.metric, record, task, same)
        if predictions is None:
            left_out[record.run.id] = "no probabilities are stored"
            continue
        if score.metric == "pearson" and (len(predictions) < 3 or np.ptp(predictions) == 0):
            left_out[record.run.id] = "no Pearson r"
            continue
        clusters = own if clusters is None else clusters
        rows[record.run.id] = predictions
    labels = values(records[0], task, [row.label for row in first])
    if not rows or (score.metric == "pearson" and (len(labels) < 3 or np.ptp(labels) == 0)):
        return None
    return scored(task, score.metric, tuple(rows), labels, stacked(list(rows.values())), left_out, clusters=clusters)


def score_sample_of(metric: str, records: Sequence[RunRecord], split: ScoredSplit = "dev") -> ScoreSample | None:
    """Return the sample of a task or of the tasks' mean; None where the first run, or for the mean a task, has none."""
    if not records:
        return None
    if metric not in AVERAGES.values():
        return score_sample(metric, records, split)
    parts = [score_sample(task, records, split) for task in averaged(headlines(records[0].run))]
    return average([part for part in parts if part is not None], AVERAGES[split]) if all(parts) else None


def scored(
    task: str,
    metric: str,
    runs: tuple[str, ...],
    labels: Values,
    predictions: Values,
    left_out: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    clusters: np.ndarray | None = None,
) -> ScoreSample | None:
    """Return the sample of `predictions` [runs, examples] of `labels` [examples]; None where no run has the metric.

    Several labels an example are [runs, examples, labels] and [examples, labels]; tags are lists of names.

    `clusters` [examples]: each example's cluster index, from 0; None: examples are independent. A single cluster cannot
    be resampled: None.
    """
    if clusters is not None and count_of(clusters, len(labels)) < 2:
        return None
    if metric == "accuracy":
        return _accuracy(task, runs, labels, predictions, left_out or {}, clusters)
    if metric == "pearson":
        return _pearson(task, runs, labels, predictions, left_out or {}, resamples, clusters)
    return _other(task, metric, runs, labels, predictions, left_out or {}, resamples, clusters)


def average(parts: Sequence[ScoreSample], name: str = DEV_AVG) -> ScoreSample | None:
    """Return the mean of several tasks' metrics, for the runs that all of them contain; `name` is one of AVERAGES.

    Errors are left out (`scores.average_of`); None where no metric is left. Of a single task it is that task's metric.

    Tasks do not share examples, so their resamples are independent, and covariances add up.
    """
    import numpy as np

    kept = averaged({part.name: part.metric for part in parts})
    parts = [part for part in parts if part.name in kept]
    runs = tuple(run for run in parts[0].runs if all(run in part.runs for part in parts)) if parts else ()
    if not runs:
        return None
    weight = 1 / len(parts)
    indices = [part.indices_of(runs) for part in parts]
    values = np.sum([part.values[at] for part, at in zip(parts, indices, strict=True)], axis=0) * weight
    covariance = np.sum([part.covariance[at][:, at] for part, at in zip(parts, indices, strict=True)], axis=0)
    left_out = {run: reason for part in parts for run, reason in part.left_out.items()}
    examples = sum(part.examples for part in parts)
    return ScoreSample(
        name,
        parts[0].metric if len(parts) == 1 else "mean",
        examples,
        runs,
        values,
        covariance * weight**2,
        parts=tuple(parts),
        left_out=left_out,
    )


def deviations(score_sample: ScoreSample, weights: np.ndarray) -> np.ndarray:
    """Return the deviations of a weighted sum of the runs' values over resamples, [resamples]."""
    import numpy as np

    if score_sample.parts:
        moved = [deviations(part, _weights_in(part, score_sample, weights)) for part in score_sample.parts]
        shortest = min(len(each) for each in moved)
        total: np.ndarray = np.sum([each[:shortest] for each in moved], axis=0) / len(moved)
        return total
    if score_sample.draws is not None:
        drawn: np.ndarray = score_sample.draws @ weights - score_sample.values @ weights
        return drawn
    assert score_sample.correct is not None
    # A resample is determined by its count of each kind of unit: equal weighted sums of correct answers, equal sizes.
    rows = np.stack([weights @ score_sample.correct, np.ones(score_sample.examples)])
    kinds, counts = np.unique(np.round(summed(rows, score_sample.clusters), 12), axis=1, return_counts=True)
    rng = np.random.default_rng([_SEED, *score_sample.name.encode()])
    held = rng.multinomial(score_sample.units, counts / score_sample.units, RESAMPLES)
    moved_by: np.ndarray = (held @ kinds[0]) / (held @ kinds[1]) - counts @ kinds[0] / score_sample.examples
    return moved_by


def resampled(score_sample: ScoreSample, most: int = RESAMPLES) -> np.ndarray:
    """Return every run's value on each of the same resamples, [resamples, runs]."""
    import numpy as np

    if score_sample.parts:
        drawn = [resampled(part, most)[:, part.indices_of(score_sample.runs)] for part in score_sample.parts]
        shortest = min(len(each) for each in drawn)
        return np.asarray(np.mean([each[:shortest] for each in drawn], axis=0))
    if score_sample.draws is not None:
        return score_sample.draws[:most]
    assert score_sample.correct is not None
    return _drawn_means(score_sample.name, score_sample.correct, score_sample.clusters, most)


def _weights_in(part: ScoreSample, full: ScoreSample, weights: np.ndarray) -> np.ndarray:
    import numpy as np

    inside = np.zeros(len(part.runs))
    inside[part.indices_of(full.runs)] = weights
    return inside


def _in_order(first: Sequence[Prediction], other: Sequence[Prediction]) -> Sequence[Prediction] | None:
    """Return a run's predictions in the order of `first`; None where the examples are not the same."""
    if len(first) != len(other):
        return None
    if any(a.example_id != b.example_id for a, b in zip(first, other, strict=True)):
        by_id = {row.example_id: row for row in other}
        if len(by_id) != len(first) or any(row.example_id not in by_id for row in first):
            return None
        other = [by_id[row.example_id] for row in first]
    pairs = zip(first, other, strict=True)
    return None if any(a.label != b.label and not _alike(a.label, b.label) for a, b in pairs) else other


def _alike(a: Label, b: Label) -> bool:
    """Tell whether unequal labels differ by the rounding alone of a regression's that earlier versions stored."""
    if isinstance(a, tuple) or isinstance(b, tuple):
        return False
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def _accuracy(
    task: str,
    runs: tuple[str, ...],
    labels: np.ndarray,
    predictions: np.ndarray,
    left_out: Mapping[str, str],
    clusters: np.ndarray | None,
) -> ScoreSample:
    correct = (predictions == labels).astype(float)
    n, values = len(labels), correct.mean(axis=1)
    units = count_of(clusters, n)
    moved = summed(correct - values[:, None], clusters)
    covariance = moved @ moved.T / n**2 * (units / max(units - 1, 1))
    return ScoreSample(
        task, "accuracy", n, runs, values, covariance, correct=correct, clusters=clusters, left_out=left_out
    )


def _pearson(
    task: str,
    runs: tuple[str, ...],
    labels: np.ndarray,
    predictions: np.ndarray,
    left_out: Mapping[str, str],
    resamples: int,
    clusters: np.ndarray | None,
) -> ScoreSample | None:
    import numpy as np

    x, y = _standard(predictions), _standard(labels[None])[0]
    values = np.clip((x * y).mean(axis=1), -1, 1)
    kept = np.isfinite(values)
    if not kept.all():  # differences too small to square
        left_out = {**left_out, **{run: "no Pearson r" for run, good in zip(runs, kept, strict=True) if not good}}
        runs, x, values = tuple(np.asarray(runs, object)[kept]), x[kept], values[kept]
    n, count = len(labels), len(runs)
    if not count:
        return None
    means = _drawn_means(task, np.concatenate([x, x * x, x * y, [y, y * y]]), clusters, resamples)
    mean_x, mean_xx, mean_xy = (means[:, at * count : (at + 1) * count] for at in range(3))
    mean_y, mean_yy = means[:, -2:-1], means[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = (mean_xy - mean_x * mean_y) / np.sqrt((mean_xx - mean_x**2) * (mean_yy - mean_y**2))
    draws = np.clip(draws[np.isfinite(draws).all(axis=1)], -1, 1)  # a resample of constant values has no r
    if len(draws) < 2:
        return None
    units = count_of(clusters, n)
    covariance = np.cov(draws.T).reshape(count, count) * units / (units - 1)
    influence = summed(x * y - values[:, None] * (x * x + y * y) / 2, clusters)
    return ScoreSample(
        task, "pearson", n, runs, values, covariance, draws=draws, influence=influence, clusters=clusters,
        left_out=left_out,
    )  # fmt: skip


def _other(
    task: str,
    metric: str,
    runs: tuple[str, ...],
    labels: Values,
    predictions: Values,
    left_out: Mapping[str, str],
    resamples: int,
    clusters: np.ndarray | None,
) -> ScoreSample | None:
    """Return the sample of any other metric, from its values on drawn resamples (`metrics.weighted`)."""
    import numpy as np

    from peftbench.metrics.value import value
    from peftbench.metrics.weighted import weighted

    reasons = [value(metric, labels, row).reason for row in predictions]
    left_out = {**left_out, **{run: reason for run, reason in zip(runs, reasons, strict=True) if reason is not None}}
    kept = [at for at, reason in enumerate(reasons) if reason is None]
    if not kept:
        return None
    predictions, names = stacked([predictions[at] for at in kept]), tuple(runs[at] for at in kept)
    of_units = weighted(metric, labels, predictions, clusters)
    count = min(resamples, max(FEWEST_RESAMPLES, MOST_DRAWN // of_units.units))
    draws = of_units.resampled(np.random.default_rng([_SEED, *task.encode()]), count)
    undefined = 1 - np.isfinite(draws).mean(axis=0)  # of each run: some resamples may lack a class, say
    left_out |= {
        run: f"undefined in {share:.0%} of resamples"
        for run, share in zip(names, undefined, strict=True)
        if share > _MOST_UNDEFINED
    }
    often = [at for at, share in enumerate(undefined) if share <= _MOST_UNDEFINED]
    if not often:
        return None
    names, predictions, draws = (
        tuple(names[at] for at in often),
        stacked([predictions[at] for at in often]),
        draws[:, often],
    )
    draws = draws[np.isfinite(draws).all(axis=1)]
    if len(draws) < 2:
        return None
    values = of_units.values(np.ones((1, of_units.units)))[0, often]
    covariance = np.cov(draws.T).reshape(len(often), len(often)) * of_units.units / (of_units.units - 1)
    influence = influences(metric, labels, predictions, clusters)
    return ScoreSample(
        task, metric, len(labels), names, values, covariance,
        draws=draws, influence=influence, clusters=clusters, left_out=left_out,
    )  # fmt: skip


def _standard(rows: np.ndarray) -> np.ndarray:
    """Return rows with mean 0 and mean square 1: r is unchanged by scale, and sums of squares keep their precision."""
    import numpy as np

    rows = rows - rows.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore", under="ignore"):
        rows = rows / np.abs(rows).max(axis=1, keepdims=True)
        return np.asarray(rows / np.sqrt((rows * rows).mean(axis=1, keepdims=True)))


def _drawn_means(task: str, features: np.ndarray, clusters: np.ndarray | None, most: int) -> np.ndarray:
    """Return the mean of each feature [features, examples] over resamples, [resamples, features]."""
    import numpy as np

    if clusters is None:
        return np.asarray(_drawn_sums(task, features, most) / features.shape[1])
    sums = _drawn_sums(task, summed(np.concatenate([features, np.ones((1, features.shape[1]))]), clusters), most)
    return np.asarray(sums[:, :-1] / sums[:, -1:])


def _drawn_sums(task: str, features: np.ndarray, most: int) -> np.ndarray:
    """Return each feature's sum over resamples of the units [features, units]; a task's resamples are always equal."""
    import numpy as np

    n = features.shape[1]
    resamples = min(most, max(FEWEST_RESAMPLES, MOST_DRAWN // n))
    rng = np.random.default_rng([_SEED, *task.encode()])
    columns = np.ascontiguousarray(features.T)
    sums = []
    for start in range(0, resamples, _CHUNK):
        chunk = min(_CHUNK, resamples - start)
        drawn = rng.integers(0, n, (chunk, n)) + np.arange(chunk)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=chunk * n).reshape(chunk, n)
        sums.append(counts.astype(float) @ columns)
    return np.concatenate(sums)
