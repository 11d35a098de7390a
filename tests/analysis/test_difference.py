"""One run on each side, compared with scipy and with a bootstrap implemented here from the definition."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from peftbench.analysis.stats import difference as statistics
from peftbench.analysis.stats.bootstrap import score_sample
from peftbench.analysis.stats.difference import MetricDifference
from peftbench.store.rows import Prediction
from tests.factories import comparable_record as record


def rows(labels: object, predictions: object) -> list[Prediction]:
    return [
        Prediction("sst", 1, f"id-{n}", float(y), float(p))
        for n, (y, p) in enumerate(zip(labels, predictions, strict=True))
    ]


def made(metric: str, n: int, *, seed: int = 0, gain: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and two runs' predictions; the second run is better by about `gain`."""
    rng = np.random.default_rng(seed)
    if metric == "accuracy":
        labels = rng.integers(0, 3, n)
        first = np.where(rng.random(n) < 0.6, labels, (labels + 1) % 3)
        second = np.where(rng.random(n) < gain, labels, first)
        second = np.where(rng.random(n) < 0.1, (labels + rng.integers(0, 3, n)) % 3, second)
        return labels, first, second
    labels = rng.random(n) * 5
    shared = rng.normal(size=n)
    return labels, labels + shared + rng.normal(size=n), labels + (1 - gain) * shared + rng.normal(size=n)


def compared(metric: str, baseline: list[Prediction], other: list[Prediction]) -> MetricDifference | None:
    records = [
        replace(record(id=name), predictions={"sst": rows}) for name, rows in zip("ab", (baseline, other), strict=True)
    ]
    scored = [replace(each, scores=tuple(replace(score, metric=metric) for score in each.scores)) for each in records]
    found = score_sample("sst", scored)
    return statistics.difference(found, ["a"], ["b"], paired=True) if found else None


def difference(metric: str, labels: object, first: object, second: object) -> MetricDifference | None:
    return compared(metric, rows(labels, first), rows(labels, second))


def metric_of(metric: str, labels: np.ndarray, predictions: np.ndarray) -> float:
    if metric == "accuracy":
        return float(np.mean(labels == predictions))
    return float(np.corrcoef(labels, predictions)[0, 1])


@pytest.mark.parametrize("metric", ["accuracy", "pearson"])
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("gain", [0.0, 0.4])
def test_the_interval_is_that_of_a_paired_bootstrap(metric: str, seed: int, gain: float) -> None:
    labels, first, second = made(metric, 250, seed=seed, gain=gain)
    rng = np.random.default_rng(99)
    drawn = []
    for _ in range(2000):
        chosen = rng.integers(0, len(labels), len(labels))
        drawn.append(
            metric_of(metric, labels[chosen], second[chosen]) - metric_of(metric, labels[chosen], first[chosen])
        )
    expected = metric_of(metric, labels, second) - metric_of(metric, labels, first)
    found = difference(metric, labels, first, second)
    few = stats.t.ppf(0.975, found.noise.examples_df) / stats.norm.ppf(0.975)  # examples on which the two differ
    low, high = expected + few * (np.percentile(drawn, [2.5, 97.5]) - expected)
    width = high - low
    assert found.low == pytest.approx(low, abs=0.1 * width)
    assert found.high == pytest.approx(high, abs=0.1 * width)
    assert found.difference == pytest.approx(expected, abs=1e-9)
    assert found.low <= found.difference <= found.high
    assert (found.metric, found.examples, found.name) == (metric, 250, "sst")


def test_mcnemar_counts_the_pairs_that_one_run_alone_got_right() -> None:
    labels, first, second = made("accuracy", 300, gain=0.3)
    lost = int(np.sum((first == labels) & (second != labels)))
    won = int(np.sum((second == labels) & (first != labels)))
    assert difference("accuracy", labels, first, second).mcnemar_p[0] == pytest.approx(
        stats.binomtest(won, won + lost).pvalue
    )
    assert difference("pearson", *made("pearson", 50)).mcnemar_p == ()


@pytest.mark.parametrize("metric", ["accuracy", "pearson"])
def test_a_clear_gain_is_better_and_seen_from_the_other_side_worse(metric: str) -> None:
    labels, first, second = made(metric, 600, gain=0.9)
    there, back = difference(metric, labels, first, second), difference(metric, labels, second, first)
    assert there.difference > 0
    assert (there.verdict, back.verdict) == ("better", "worse")
    assert back.difference == pytest.approx(-there.difference)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=0.15 * (there.high - there.low))


@pytest.mark.parametrize("metric", ["accuracy", "pearson"])
def test_identical_predictions_do_not_differ(metric: str) -> None:
    labels, first, _ = made(metric, 100)
    found = difference(metric, labels, first, first)
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.verdict == "no detectable difference"
    assert found.mcnemar_p in ((), (1.0,))


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["accuracy", "pearson"])
def test_equal_runs_are_rarely_called_different(metric: str) -> None:
    """Two runs of equal quality: a 95 % interval may rarely exclude zero."""
    verdicts = [difference(metric, *_equals(metric, seed)).verdict for seed in range(20)]
    assert verdicts.count("no detectable difference") >= 16


def _equals(metric: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    if metric == "accuracy":
        labels = rng.integers(0, 2, 200)
        first, second = (np.where(rng.random(200) < 0.8, labels, 1 - labels) for _ in range(2))
    else:
        labels = rng.random(200)
        first, second = (labels + rng.normal(size=200) for _ in range(2))
    return labels, first, second


@pytest.mark.parametrize(("won", "lost"), [(4, 0), (5, 0), (7, 1), (9, 2), (0, 5)])
def test_no_difference_is_claimed_that_the_printed_p_value_denies(won: int, lost: int) -> None:
    """With a handful of discordant pairs the percentile interval is too narrow; the exact test is not."""
    labels = np.ones(300)
    first, second = labels.copy(), labels.copy()
    first[:won], second[won : won + lost] = 0, 0
    found = difference("accuracy", labels, first, second)
    assert found.p_holm > 0.05
    assert found.verdict == "no detectable difference"


@pytest.mark.parametrize("metric", ["accuracy", "pearson"])
def test_the_order_of_the_other_runs_rows_does_not_matter(metric: str) -> None:
    labels, first, second = made(metric, 80, gain=0.2)
    other = rows(labels, second)
    assert compared(metric, rows(labels, first), other[::-1]) == compared(metric, rows(labels, first), other)


def test_the_same_predictions_give_the_same_interval_every_time() -> None:
    labels, first, second = made("pearson", 60)
    assert difference("pearson", labels, first, second) == difference("pearson", labels, first, second)


def test_other_examples_are_not_compared() -> None:
    labels, first, second = made("accuracy", 10)
    baseline, other = rows(labels, first), rows(labels, second)
    renamed = [*other[:-1], Prediction("sst", 1, "another", other[-1].label, 0.0)]
    relabelled = [*other[:-1], Prediction("sst", 1, other[-1].example_id, other[-1].label + 1, 0.0)]
    for unlike in (renamed, relabelled, other[:-1], [*other, Prediction("sst", 1, "more", 0.0, 0.0)], []):
        assert compared("accuracy", baseline, unlike) is None


def test_no_examples_are_no_comparison() -> None:
    assert compared("accuracy", [], []) is None
    assert compared("pearson", [], []) is None


@pytest.mark.parametrize("constant", ["first", "second", "labels"])
def test_a_correlation_that_does_not_exist_is_not_compared(constant: str) -> None:
    values = dict(zip(("labels", "first", "second"), made("pearson", 20), strict=True))
    values[constant] = np.full(20, 2.5)
    assert difference("pearson", **values) is None


def test_two_examples_have_no_interval_of_a_correlation() -> None:
    assert difference("pearson", [0, 1], [0, 1], [1, 0]) is None


values = st.lists(
    st.tuples(*[st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(-5, 5))] * 3), min_size=1, max_size=8
)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@settings(max_examples=60)
@given(values, st.sampled_from(["accuracy", "pearson"]))
@example([(0.0, 0.0, 0.0), (1.0, 1e-200, 1.0), (2.0, 2e-200, 0.0)], "pearson")
@example([(0.0, 0.0, 0.0), (0.0, 1.0, 1.0), (1.0, 0.0, 0.0)], "pearson")
def test_whatever_was_predicted_gives_finite_figures_or_none(triples: list[tuple[float, ...]], metric: str) -> None:
    found = difference(metric, *zip(*triples, strict=True))
    if found is not None:
        assert all(math.isfinite(value) for value in (found.difference, found.low, found.high))
        assert -2 <= found.low <= found.high <= 2
