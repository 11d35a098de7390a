"""What runs scored on the same dev examples, and how far each score would move with other examples: the bootstrap.

All runs are scored on the same resamples, so that what they share cancels in a difference. For accuracy, a mean, the
bootstrap's covariances are known without drawing; Pearson r is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from peftbench.store.rows import Prediction, RunRecord

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 10_000
MOST_DRAWN = 20_000_000  # examples drawn in all: with many examples, fewer resamples
FEWEST_RESAMPLES = 1_000
DEV_AVG = "dev_avg"
_CHUNK = 250
_SEED = 20_402


@dataclass(frozen=True, slots=True)
class Sample:
    """A metric of several runs on the same `examples`.

    `values` [runs]; `covariance` [runs, runs] of the values over resampled examples; `draws` [resamples, runs] of
    Pearson r and of averages with it; `correct` [runs, examples] of accuracy. `left_out`: why a run is not in.
    """

    name: str  # a task, or DEV_AVG
    metric: str
    examples: int
    runs: tuple[str, ...]  # ids
    values: np.ndarray
    covariance: np.ndarray
    draws: np.ndarray | None = None
    correct: np.ndarray | None = None
    parts: tuple[Sample, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def places(self, ids: Sequence[str]) -> list[int] | None:
        """Return where runs are in `values`; None where one of them is not in."""
        where = {run: place for place, run in enumerate(self.runs)}
        return [where[run] for run in ids] if all(run in where for run in ids) else None


def sample(task: str, records: Sequence[RunRecord]) -> Sample | None:
    """Return a task's metric of all runs that predicted the same examples as the first; None where the first has none.

    A run whose metric does not exist (equal predictions have no Pearson r) is left out, too.
    """
    import numpy as np

    first = records[0].predictions.get(task)
    score = records[0].score(task)
    if not first or score is None:
        return None
    left_out: dict[str, str] = {}
    rows: dict[str, np.ndarray] = {}
    for record in records:
        predictions = _in_order(first, record.predictions.get(task, ()))
        if predictions is None:
            left_out[record.run.id] = "not the same dev examples"
        elif score.metric == "pearson" and (len(predictions) < 3 or np.ptp(predictions) == 0):
            left_out[record.run.id] = "no Pearson r"
        else:
            rows[record.run.id] = predictions
    labels = np.asarray([row.label for row in first], float)
    if not rows or (score.metric == "pearson" and (len(labels) < 3 or np.ptp(labels) == 0)):
        return None
    return scored(task, score.metric, tuple(rows), labels, np.stack(list(rows.values())), left_out)


def sample_of(metric: str, records: Sequence[RunRecord]) -> Sample | None:
    """Return the sample of a task or of Dev Avg; None where the first run, or for Dev Avg a task of it, has none."""
    if not records:
        return None
    if metric != DEV_AVG:
        return sample(metric, records)
    parts = [sample(task, records) for task in records[0].tasks]
    return average([part for part in parts if part is not None]) if all(parts) else None


def scored(
    task: str,
    metric: str,
    runs: tuple[str, ...],
    labels: np.ndarray,
    predictions: np.ndarray,
    left_out: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
) -> Sample | None:
    """Return the sample of `predictions` [runs, examples] of `labels` [examples]; None where no run has the metric."""
    if metric == "accuracy":
        return _accuracy(task, runs, labels, predictions, left_out or {})
    return _pearson(task, runs, labels, predictions, left_out or {}, resamples)


def average(parts: Sequence[Sample]) -> Sample | None:
    """Return the plain mean of several tasks' metrics (Dev Avg), of the runs that all of them have.

    Tasks have examples of their own, so their resamples are independent, and covariances add up.
    """
    import numpy as np

    runs = tuple(run for run in parts[0].runs if all(run in part.runs for part in parts)) if parts else ()
    if not runs:
        return None
    weight = 1 / len(parts)
    places = [part.places(runs) for part in parts]
    values = np.sum([part.values[at] for part, at in zip(parts, places, strict=True)], axis=0) * weight
    covariance = np.sum([part.covariance[at][:, at] for part, at in zip(parts, places, strict=True)], axis=0)
    left_out = {run: why for part in parts for run, why in part.left_out.items()}
    examples = sum(part.examples for part in parts)
    return Sample(
        DEV_AVG, "mean", examples, runs, values, covariance * weight**2, parts=tuple(parts), left_out=left_out
    )


def deviations(sample: Sample, weights: np.ndarray) -> np.ndarray:
    """Return how a weighted sum of the runs' values moves over resamples: centred, [resamples]."""
    import numpy as np

    if sample.parts:
        moved = [deviations(part, _weights_in(part, sample, weights)) for part in sample.parts]
        shortest = min(len(each) for each in moved)
        total: np.ndarray = np.sum([each[:shortest] for each in moved], axis=0) / len(moved)
        return total
    if sample.draws is not None:
        drawn: np.ndarray = sample.draws @ weights - sample.values @ weights
        return drawn
    assert sample.correct is not None
    found, counts = np.unique(np.round(weights @ sample.correct, 12), return_counts=True)
    rng = np.random.default_rng([_SEED, *sample.name.encode()])  # a resample needs only how many of each kind it holds
    held = rng.multinomial(sample.examples, counts / sample.examples, RESAMPLES)
    moved_by: np.ndarray = held @ found / sample.examples - counts @ found / sample.examples
    return moved_by


def resampled(sample: Sample, most: int = RESAMPLES) -> np.ndarray:
    """Return every run's value on each of the same resamples, [resamples, runs]."""
    import numpy as np

    if sample.parts:
        drawn = [resampled(part, most)[:, part.places(sample.runs)] for part in sample.parts]
        shortest = min(len(each) for each in drawn)
        return np.asarray(np.mean([each[:shortest] for each in drawn], axis=0))
    if sample.draws is not None:
        return sample.draws[:most]
    assert sample.correct is not None
    return _drawn_sums(sample.name, sample.correct, most) / sample.examples


def _weights_in(part: Sample, whole: Sample, weights: np.ndarray) -> np.ndarray:
    import numpy as np

    inside = np.zeros(len(part.runs))
    inside[part.places(whole.runs)] = weights
    return inside


def _in_order(first: Sequence[Prediction], other: Sequence[Prediction]) -> np.ndarray | None:
    """Return a run's predictions in the order of another one's; None where the examples are not the same."""
    import numpy as np

    if len(first) != len(other):
        return None
    if any(a.example_id != b.example_id for a, b in zip(first, other, strict=True)):
        by_id = {row.example_id: row for row in other}
        if len(by_id) != len(first) or any(row.example_id not in by_id for row in first):
            return None
        other = [by_id[row.example_id] for row in first]
    if any(a.label != b.label for a, b in zip(first, other, strict=True)):
        return None
    return np.asarray([row.prediction for row in other], float)


def _accuracy(
    task: str, runs: tuple[str, ...], labels: np.ndarray, predictions: np.ndarray, left_out: Mapping[str, str]
) -> Sample:
    import numpy as np

    correct = (predictions == labels).astype(float)
    n = len(labels)
    covariance = np.cov(correct, ddof=min(1, n - 1)).reshape(len(runs), len(runs)) / n
    return Sample(task, "accuracy", n, runs, correct.mean(axis=1), covariance, correct=correct, left_out=left_out)


def _pearson(
    task: str,
    runs: tuple[str, ...],
    labels: np.ndarray,
    predictions: np.ndarray,
    left_out: Mapping[str, str],
    resamples: int,
) -> Sample | None:
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
    sums = _drawn_sums(task, np.concatenate([x, x * x, x * y, [y, y * y]]), resamples) / n
    mean_x, mean_xx, mean_xy = (sums[:, at * count : (at + 1) * count] for at in range(3))
    mean_y, mean_yy = sums[:, -2:-1], sums[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = (mean_xy - mean_x * mean_y) / np.sqrt((mean_xx - mean_x**2) * (mean_yy - mean_y**2))
    draws = np.clip(draws[np.isfinite(draws).all(axis=1)], -1, 1)  # a resample of equal values has no r
    if len(draws) < 2:
        return None
    covariance = np.cov(draws.T).reshape(count, count) * n / (n - 1)
    return Sample(task, "pearson", n, runs, values, covariance, draws=draws, left_out=left_out)


def _standard(rows: np.ndarray) -> np.ndarray:
    """Return rows with mean 0 and mean square 1: r knows no scale, and sums of squares then lose nothing."""
    import numpy as np

    rows = rows - rows.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore", under="ignore"):
        rows = rows / np.abs(rows).max(axis=1, keepdims=True)
        return np.asarray(rows / np.sqrt((rows * rows).mean(axis=1, keepdims=True)))


def _drawn_sums(task: str, features: np.ndarray, most: int) -> np.ndarray:
    """Return each feature's sum over resamples of the examples, [resamples, features]; the same ones for a task."""
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
