"""Headline metrics other than accuracy and Pearson r: the bootstrap's sample, influences, and comparisons of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.coverage import Setting, measure
from peftbench.analysis.comparison import compare
from peftbench.analysis.outputs import Values
from peftbench.analysis.stats.bootstrap import scored
from peftbench.analysis.stats.difference import difference, range_of
from peftbench.analysis.stats.influence import influences
from peftbench.metrics import METRICS, metrics_for
from peftbench.metrics.weighted import weighted
from peftbench.store.rows import RunRecord
from tests.factories import comparable_record

RNG = np.random.default_rng(5)
LABELS = (RNG.random(200) < 0.3).astype(float)
PREDICTIONS = np.stack([np.where(RNG.random(200) < right, LABELS, 1 - LABELS) for right in (0.7, 0.8, 0.85)])
SCORES = np.stack([LABELS + RNG.normal(size=200) * spread for spread in (1.0, 2.0)])
PROBABILITIES = 1 / (1 + np.exp(2 - 4 * SCORES))  # too sure
CLUSTERS = np.arange(200) // 4
OTHERS = sorted(METRICS.keys() - {"accuracy", "pearson", "exact_match"})


SEVERAL = RNG.random((200, 3)) < (0.2, 0.4, 0.5)
SEVERAL_PREDICTED = np.stack([np.where(RNG.random((200, 3)) < right, SEVERAL, ~SEVERAL) for right in (0.7, 0.8, 0.9)])
TAGS = [[("O", "B-X", "I-X", "B-Y")[tag] for tag in row] for row in RNG.integers(0, 4, (200, 6))]
TAGGED = [
    [[tag if RNG.random() < right else "O" for tag in sentence] for sentence in TAGS] for right in (0.6, 0.7, 0.9)
]
OF_SEVERAL = ("exact_match", "several labels: micro_f1", "several labels: macro_f1", "several labels: weighted_f1")


def data_of(metric: str) -> tuple[str, Values, Values]:
    """Return the metric's name, labels, and the predictions of several runs."""
    name = metric.rpartition(" ")[2]
    if metric in OF_SEVERAL:
        return name, SEVERAL, SEVERAL_PREDICTED
    if metric in metrics_for("tokens"):
        return name, TAGS, TAGGED
    if metric in ("brier", "ece"):
        return name, LABELS, PROBABILITIES
    if METRICS[name].of_probabilities:
        return name, LABELS, SCORES
    return name, LABELS, predictions_of(metric)


def predictions_of(metric: str) -> np.ndarray:
    return SCORES if metric in metrics_for("similarity") else PREDICTIONS


@pytest.mark.parametrize("clusters", [None, CLUSTERS])
@pytest.mark.parametrize("metric", sorted({*OTHERS, *OF_SEVERAL}))
def test_every_headline_has_a_sample(metric: str, clusters: np.ndarray | None) -> None:
    metric, labels, predictions = data_of(metric)
    runs = tuple(f"run-{n}" for n in range(len(predictions)))
    sample = scored("sst", metric, runs, labels, predictions, resamples=2000, clusters=clusters)
    assert sample is not None and sample.draws is not None and sample.influence is not None
    assert sample.metric == metric and sample.units == (200 if clusters is None else 50)
    # the bootstrap's variance is that of the influences, but for terms of higher order
    by_influence = (sample.influence**2).sum(axis=1) / 200**2
    assert sample.covariance.diagonal() == pytest.approx(by_influence, rel=0.25)
    row = difference(sample, ["run-0"], ["run-1"], paired=True)
    assert row is not None and row.low < row.difference < row.high
    assert row.high - row.low < range_of(metric)


def test_accuracy_drawn_is_accuracy_in_closed_form() -> None:
    closed = scored("sst", "accuracy", ("a", "b", "c"), LABELS, PREDICTIONS)
    drawn = scored("sst", "micro_f1", ("a", "b", "c"), LABELS, PREDICTIONS)  # the same figure, from draws
    assert closed is not None and drawn is not None
    assert drawn.values == pytest.approx(closed.values)
    assert drawn.covariance.diagonal() == pytest.approx(closed.covariance.diagonal(), rel=0.1)


@pytest.mark.parametrize(
    "metric",
    ["mcc", "cohen_kappa", "macro_f1", "balanced_accuracy", "weighted_f1", "f1", "r2", "mae", "rmse", "brier", "ece"],
)
def test_an_influence_is_what_a_unit_more_moves(metric: str) -> None:
    _, _, predictions = data_of(metric)
    by_unit = influences(metric, LABELS, predictions)
    of_units = weighted(metric, LABELS, predictions)
    base, step = of_units.values(np.ones((1, 200)))[0], 1e-5
    for unit in (0, 3, 77):
        weights = np.ones((1, 200))
        weights[0, unit] += step
        moved = (of_units.values(weights)[0] - base) / step * 200
        # at constant total weight, as in a resample: the mean influence is taken off
        assert by_unit[:, unit] == pytest.approx(moved, abs=2e-2 * max(1.0, float(abs(moved).max())))
    assert by_unit.sum(axis=1) == pytest.approx(0, abs=1e-6)


def test_runs_without_the_metric_are_left_out_with_the_reason() -> None:
    constant = np.concatenate([PREDICTIONS[:2], np.zeros((1, 200))])
    sample = scored("sst", "mcc", ("a", "b", "none"), LABELS, constant)
    assert sample is not None and sample.runs == ("a", "b")
    assert "constant predictions" in sample.left_out["none"]


def test_a_run_that_is_often_undefined_does_not_move_the_others() -> None:
    """Resamples without its one positive prediction would be dropped for all runs."""
    nearly_constant = np.zeros((1, 200))
    nearly_constant[0, 17] = 1
    sample = scored("sst", "mcc", ("a", "b", "rare"), LABELS, np.concatenate([PREDICTIONS[:2], nearly_constant]))
    alone = scored("sst", "mcc", ("a", "b"), LABELS, PREDICTIONS[:2])
    assert sample is not None and alone is not None
    assert sample.left_out["rare"].startswith("undefined in ")
    np.testing.assert_array_equal(sample.covariance, alone.covariance)


def with_metric(metric: str, shift: float = 0.0) -> RunRecord:
    record = comparable_record(shift=shift)
    return replace(record, scores=tuple(replace(s, metric=metric) if s.task == "sst" else s for s in record.scores))


def test_other_metrics_of_one_task_are_not_compared() -> None:
    (against,) = compare([with_metric("accuracy"), with_metric("macro_f1")]).against
    assert dict(against.left_out)["sst"] == "another metric (macro_f1)"


@pytest.mark.soak
@pytest.mark.parametrize("metric", ["macro_f1", "mcc", "spearman"])
def test_intervals_have_about_their_nominal_coverage(metric: str) -> None:
    """A hundred trials: a correct interval is outside these bounds once in a thousand."""
    assert measure(Setting(metric, (3, 3), True, 400, 0.1, 0.0), 100).covered >= 0.87
