"""Clustered examples: whole clusters are resampled, so that copies of an example add no information."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from peftbench.analysis.comparison import compare
from peftbench.analysis.stats.bootstrap import ScoreSample, average, deviations, resampled, score_sample, scored
from peftbench.analysis.stats.clusters import clusters_of, count_of, summed
from peftbench.analysis.stats.difference import difference
from peftbench.analysis.stats.variance_components import variance_components_of
from peftbench.report.comparison import page
from peftbench.report.verdicts import could_have
from peftbench.store.rows import Prediction
from tests.factories import comparable_record as record
from tests.factories import predicted
from tests.factories import run_ids as runs
from tests.tiny import TASKS

METRICS = ("accuracy", "pearson")


def drawn(metric: str, clusters: np.ndarray | None, copies: int = 1, n: int = 120, count: int = 4) -> ScoreSample:
    """Return runs on `n` examples, each repeated `copies` times in succession."""
    rng = np.random.default_rng(5)
    hardness, noise = rng.normal(size=n), rng.normal(size=(count, n))
    labels = rng.normal(size=n) if metric == "pearson" else np.ones(n)
    predictions = labels + hardness + noise if metric == "pearson" else (0.5 + hardness + noise > 0).astype(float)
    found = scored(
        "sst", metric, runs(count), np.tile(labels, copies), np.tile(predictions, (1, copies)), clusters=clusters
    )
    assert found is not None
    return found


@pytest.mark.parametrize("metric", METRICS)
def test_a_cluster_for_each_example_changes_nothing(metric: str) -> None:
    alone, each = drawn(metric, None), drawn(metric, np.arange(120))
    assert each.covariance == pytest.approx(alone.covariance, rel=1e-9)
    assert resampled(each) == pytest.approx(resampled(alone), rel=1e-9)
    weights = np.array([-1, 1, 0, 0.0])
    assert deviations(each, weights) == pytest.approx(deviations(alone, weights), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("copies", [2, 5])
@pytest.mark.parametrize("runs_a_side", [1, 2])
def test_copies_of_examples_add_no_information(metric: str, copies: int, runs_a_side: int) -> None:
    """The interval over clusters of copies equals that over the examples; by single examples it is too narrow."""
    once = drawn(metric, None)
    whole = drawn(metric, np.tile(np.arange(120), copies), copies)
    one_by_one = drawn(metric, None, copies)
    assert (whole.units, whole.examples) == (120, 120 * copies)
    assert whole.covariance == pytest.approx(once.covariance, rel=1e-9)
    assert np.trace(one_by_one.covariance) < 1.2 * np.trace(once.covariance) / copies
    sides = runs(4)[:runs_a_side], runs(4)[runs_a_side : 2 * runs_a_side]
    expected, got = (difference(each, *sides, paired=runs_a_side > 1) for each in (once, whole))
    assert got.clusters == 120
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), rel=0.05)


@pytest.mark.parametrize("metric", METRICS)
def test_clusters_of_unlike_sizes_are_resampled_whole(metric: str) -> None:
    rng = np.random.default_rng(8)
    sizes = rng.integers(1, 12, size=60)
    clusters = rng.permutation(np.repeat(np.arange(60), sizes))
    n, effect = len(clusters), rng.normal(size=(3, 60))[:, clusters]
    labels = rng.normal(size=n)
    raw = 0.5 + effect + rng.normal(size=(3, n)) + (labels if metric == "pearson" else 0)
    predictions = raw if metric == "pearson" else (raw > 0).astype(float)
    truth = labels if metric == "pearson" else np.ones(n)
    found = scored("sst", metric, runs(3), truth, predictions, clusters=clusters)

    def value(rows: np.ndarray) -> np.ndarray:
        if metric == "accuracy":
            return (predictions[:, rows] == truth[rows]).mean(axis=1)
        return np.array([np.corrcoef(each[rows], truth[rows])[0, 1] for each in predictions])

    members = [np.flatnonzero(clusters == number) for number in range(60)]
    picks = rng.integers(0, 60, size=(3000, 60))
    by_hand = np.array([value(np.concatenate([members[pick] for pick in row])) for row in picks])
    assert found.values == pytest.approx(value(np.arange(n)))
    assert np.cov(by_hand.T) == pytest.approx(found.covariance, rel=0.15, abs=0.1 * found.covariance.max())
    weights = np.array([-1, 0.5, 0.5])
    assert deviations(found, weights).std() == pytest.approx((by_hand @ weights).std(), rel=0.1)
    assert resampled(found).std(axis=0) == pytest.approx(by_hand.std(axis=0), rel=0.1)


def test_few_clusters_are_few_degrees_of_freedom() -> None:
    clusters = np.arange(120) % 6
    found = drawn("accuracy", clusters)
    assert variance_components_of(found, [0], [1], paired=False).examples_df <= 5
    assert variance_components_of(drawn("accuracy", None), [0], [1], paired=False).examples_df > 20


def test_a_single_cluster_gives_no_sample() -> None:
    assert scored("sst", "accuracy", runs(2), np.ones(4), np.ones((2, 4)), clusters=np.zeros(4, int)) is None


def test_mcnemar_needs_independent_examples() -> None:
    got = difference(drawn("accuracy", np.arange(120) % 40), ["r0"], ["r1"], paired=False)
    assert got.mcnemar_p == ()
    assert difference(drawn("accuracy", None), ["r0"], ["r1"], paired=False).mcnemar_p != ()


def test_an_average_resamples_each_task_by_its_own_units() -> None:
    parts = [drawn("accuracy", np.arange(120) % 40), replace(drawn("pearson", None), name="sts")]
    found = average(parts)
    assert (found.units, found.clustered) == (160, True)
    assert found.covariance == pytest.approx((parts[0].covariance + parts[1].covariance) / 4)
    assert math.isfinite(difference(found, ["r0", "r1"], ["r2", "r3"], paired=False).low)


def test_sums_over_clusters_do_not_depend_on_example_order() -> None:
    rows = np.array([[1.0, 2, 3, 4, 5], [1, 1, 1, 1, 1]])
    assert summed(rows, np.array([1, 0, 1, 2, 0])).tolist() == [[7, 4, 4], [2, 2, 1]]
    assert summed(rows, None) is rows
    assert count_of(np.array([1, 0, 1, 2, 0]), 5) == 3


def clustered(task: str, shift: float, names: str) -> tuple[Prediction, ...]:
    return tuple(
        replace(row, cluster=name) for row, name in zip(predicted(task, shift, len(names)), names, strict=True)
    )


def with_groups(names: str, shift: float = 0.0) -> dict[str, tuple[Prediction, ...]]:
    return {task: clustered(task, shift, names) if task == "sst" else predicted(task, shift) for task in TASKS}


def test_runs_that_named_no_groups_take_those_of_the_others() -> None:
    found = score_sample("sst", [record(), record(predictions=with_groups("aabbcc", 0.1)), record()])
    assert len(found.runs) == 3
    assert found.clusters.tolist() == [0, 0, 1, 1, 2, 2]


def test_other_names_of_the_same_groups_are_the_same_groups() -> None:
    found = score_sample("sst", [record(predictions=with_groups(names, 0.1)) for names in ("aabbcc", "xxyyzz")])
    assert len(found.runs) == 2


def test_runs_with_different_groups_of_examples_are_not_compared() -> None:
    strange = record(predictions=with_groups("abcabc", 0.1))
    found = score_sample("sst", [record(predictions=with_groups("aabbcc")), strange])
    assert found.left_out == {strange.run.id: "other groups of dev examples"}


def test_groups_are_found_in_whatever_order_the_examples_came() -> None:
    backwards = {task: rows[::-1] for task, rows in with_groups("aabbcc", 0.1).items()}
    found = score_sample("sst", [record(), record(predictions=backwards)])
    assert found.clusters.tolist() == [0, 0, 1, 1, 2, 2]
    assert clusters_of(predicted("sst")) is None


def test_the_report_states_that_clusters_were_resampled() -> None:
    result = compare([record(predictions=with_groups("aabbcc")), record(predictions=with_groups("aabbcc", 0.1))])
    of_sst, *others = result.against[0].metrics
    assert (of_sst.clusters, [row.clusters for row in others[:-1]]) == (3, [None, None])
    assert "6 examples in 3 clusters" in could_have(of_sst)
    notes = " ".join(page(result, full=True).notes)
    assert "paired bootstrap over the dev examples, whole clusters of them (sst 3)" in notes
