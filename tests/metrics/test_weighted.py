"""Metrics over weighted examples: as over examples that are repeated, and as by scikit-learn's weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from peftbench.metrics import METRICS
from peftbench.metrics import weighted as module
from peftbench.metrics.computed import Computed
from peftbench.metrics.value import value
from peftbench.metrics.weighted import WeightedMetric, drawn, weighted
from tests.metrics.cases import drawn as made
from tests.metrics.cases import forms, reference, repeated

CLUSTERS = [False, True]
SMOOTH = (
    "accuracy", "exact_match", "f1", "micro_f1", "brier", "mae", "rmse", "pearson", "r2", "auroc", "average_precision",
    "span_f1", "span_precision", "span_recall", "token_accuracy", "ece",
)  # fmt: skip


def case(name: str, shape: str, seed: int, n: int, clustered: bool) -> tuple[Any, Any, np.ndarray, WeightedMetric]:
    """Return labels, outputs of two runs, each example's unit, and the metric."""
    rng = np.random.default_rng(seed)
    labels, outputs = made(name, shape, rng, n, runs=2)
    units = rng.permutation(np.append(np.arange(n // 3), rng.integers(0, n // 3, n - n // 3))) if clustered else None
    found = weighted(name, labels, outputs, units)
    return labels, outputs, np.arange(n) if units is None else units, found


@pytest.mark.parametrize("clustered", CLUSTERS)
@pytest.mark.parametrize("n", [3, 9, 150])
@pytest.mark.parametrize(("name", "shape"), forms())
def test_weights_are_repeated_examples(name: str, shape: str, n: int, clustered: bool) -> None:
    rng = np.random.default_rng(n)
    labels, outputs, units, found = case(name, shape, n, n, clustered)
    weights = np.concatenate(list(drawn(rng, 12, found.units)))
    values = found.values(weights)
    assert values.shape == (12, 2)
    for row, counts in zip(values, weights, strict=True):
        for run in range(2):
            rows = repeated(labels, counts[units]), repeated(outputs[run], counts[units])
            own = value(name, *rows).value
            assert row[run] == pytest.approx(math.nan if own is None else own, rel=1e-12, abs=1e-12, nan_ok=True)
            if own is not None:
                assert row[run] == pytest.approx(reference(name, *rows), rel=1e-11, abs=1e-12)


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 2, 1e-9, 1e6, 1e6 + 1e-3]), st.integers(-3, 3)), min_size=2, max_size=7),
    st.integers(0, 99),
)
def test_correlations_of_resamples_without_their_outliers(rows: list[tuple[float, int]], seed: int) -> None:
    x, y = np.array(rows).T
    weights = np.concatenate(list(drawn(np.random.default_rng(seed), 6, len(x))))
    for name in ("pearson", "r2"):
        values = weighted(name, x, y[None])
        for row, counts in zip(values.values(weights)[:, 0], weights, strict=True):
            own = value(name, np.repeat(x, counts), np.repeat(y, counts)).value
            assert row == pytest.approx(math.nan if own is None else own, rel=1e-11, abs=1e-11, nan_ok=True)


BY_SKLEARN: dict[str, Callable[..., float]] = {
    "auroc": sklearn.roc_auc_score,
    "average_precision": sklearn.average_precision_score,
    "brier": sklearn.brier_score_loss,
    "r2": sklearn.r2_score,
    "mae": sklearn.mean_absolute_error,
    "rmse": sklearn.root_mean_squared_error,
    "accuracy": sklearn.accuracy_score,
    "mcc": sklearn.matthews_corrcoef,
    "cohen_kappa": sklearn.cohen_kappa_score,
    "macro_f1": partial(sklearn.f1_score, average="macro"),
    "weighted_f1": partial(sklearn.f1_score, average="weighted"),
    "balanced_accuracy": sklearn.balanced_accuracy_score,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_SKLEARN)
@given(rows=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), st.floats(0.1, 3)), min_size=2, max_size=12))
def test_weights_need_not_be_whole(name: str, rows: list[tuple[int, int, float]]) -> None:
    labels, scores, weights = np.array(rows).T
    scores = scores / 5
    guessed = (scores > 0.4).astype(int)
    if np.ptp(labels) == 0 or np.ptp(guessed) == 0:
        return
    outputs = guessed if "classes" in METRICS[name].inputs else scores
    found = weighted(name, labels, outputs[None]).values(weights[None])
    assert found[0, 0] == pytest.approx(BY_SKLEARN[name](labels, outputs, sample_weight=weights), rel=1e-11, abs=1e-12)


@pytest.mark.parametrize(("name", "shape"), forms())
def test_a_resample_of_one_class_or_value_has_what_value_says(name: str, shape: str) -> None:
    """All the weight on one unit, on none, and on units alike."""
    labels, outputs, _, found = case(name, shape, 4, 20, False)
    weights = np.concatenate([np.eye(20) * 3, np.zeros((1, 20))])
    values = found.values(weights)
    assert np.isnan(values[-1]).all()
    for at in range(20):
        own = value(name, repeated(labels, weights[at].astype(int)), repeated(outputs[0], weights[at].astype(int)))
        assert values[at, 0] == pytest.approx(math.nan if own.value is None else own.value, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("clustered", CLUSTERS)
@pytest.mark.parametrize(("name", "shape"), forms())
def test_influence_is_the_derivative_by_a_units_weight(name: str, shape: str, clustered: bool) -> None:
    _, _, units, found = case(name, shape, 11, 60, clustered)
    influence = found.influence()
    if name not in SMOOTH and not (name == "micro_f1" and shape == "classes"):
        assert influence is None
        return
    assert influence is not None
    step = np.eye(found.units) * 1e-5
    slope = (found.values(1 + step) - found.values(1 - step)) / 2e-5 * len(units)
    assert np.abs(influence.T - slope).max() < 1e-6
    assert influence.sum(axis=1) == pytest.approx([0, 0], abs=1e-9)


def test_constant_predictions_have_no_correlation_whatever_is_drawn() -> None:
    labels, outputs = np.arange(50.0), np.stack([np.full(50, 0.1), np.arange(50.0)])
    for name in ("pearson", "spearman"):
        values = weighted(name, labels, outputs).resampled(np.random.default_rng(0), 20)
        assert np.isnan(values[:, 0]).all()
        assert values[:, 1] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", ["mcc", "cohen_kappa", "pearson", "spearman", "r2", "auroc"])
def test_weights_that_are_not_whole_leave_no_metric_of_constants(name: str) -> None:
    """Rounding of the sums must not make 0 / 0 a number."""
    labels, outputs = np.repeat([1, 0], [70, 2]), np.ones((1, 72), dtype=int)
    weights = np.random.default_rng(3).random((200, 72)) * np.repeat([1, 0], [70, 2])
    assert np.isnan(weighted(name, labels, outputs).values(weights)).all()
    if name in ("mcc", "pearson", "spearman"):
        assert np.isnan(weighted(name, np.arange(72) % 20, outputs).values(weights)).all()


def test_many_classes_are_counted_without_a_table_of_all_pairs() -> None:
    rng = np.random.default_rng(2)
    labels, outputs = rng.integers(0, 10**12, 200), rng.integers(0, 10**12, (1, 200))
    outputs[0, :90] = labels[:90]
    for name in ("macro_f1", "mcc", "balanced_accuracy"):
        assert weighted(name, labels, outputs).values(np.ones((1, 200)))[0, 0] == pytest.approx(
            reference(name, labels, outputs[0]), abs=1e-12
        )


def test_resamples_do_not_depend_on_the_size_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, outputs, _, found = case("auroc", "binary", 1, 40, False)
    whole = found.resampled(np.random.default_rng(5), 300)
    monkeypatch.setattr(Computed, "at_once", 100)
    monkeypatch.setattr(module, "_DRAWN_AT_ONCE", 90)
    assert np.array_equal(weighted("auroc", labels, outputs).resampled(np.random.default_rng(5), 300), whole)
    assert whole.shape == (300, 2)
    assert found.resampled(np.random.default_rng(5), 0).shape == (0, 2)


@pytest.mark.parametrize(
    ("outputs", "clusters", "words"),
    [
        ([[1, math.nan]], None, "1 of 2 predictions are not finite"),
        ([], None, "no runs"),
        ([[1, 0]], [0], "clusters must be 2 whole numbers"),
        ([[1, 0]], [0.0, 1.0], "clusters must be 2 whole numbers"),
        ([[1, 0]], [0, 2], "numbered from 0"),
        ([1, 0], None, "same shape"),
    ],
)
def test_what_cannot_be_weighted_is_refused(outputs: Any, clusters: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        weighted("accuracy", [1, 0], outputs, clusters)


def test_weights_are_of_the_units() -> None:
    with pytest.raises(ValueError, match=r"weights must be \[resamples, 2\]; they are \[1, 3\]"):
        weighted("accuracy", [1, 0], [[1, 0]]).values([[1, 1, 1]])
    with pytest.raises(ValueError, match="no examples"):
        weighted("accuracy", [], [[]])
