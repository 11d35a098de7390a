"""Values of metrics against scikit-learn, scipy and seqeval, and where there is none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench.metrics.value import value
from tests.metrics.cases import TAGS, drawn, forms, pairs_of, reference

CLASSES = ("accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "weighted_f1", "mcc", "cohen_kappa")
LABELS = ("micro_f1", "macro_f1", "weighted_f1", "exact_match")
SPANS = ("span_f1", "span_precision", "span_recall", "token_accuracy")
SCORES = ("pearson", "spearman", "r2", "mae", "rmse")
few = st.integers(0, 3)
numbers = st.one_of(st.integers(-2, 2).map(float), st.integers(-(10**6), 10**6).map(lambda k: k / 1000))


def same(name: str, labels: Any, outputs: Any, rel: float = 1e-12) -> None:
    """Compare a value with the reference's, or see that it says why there is none."""
    found, expected = value(name, labels, outputs), reference(name, labels, outputs)
    if found.value is None:
        assert found.reason
        assert math.isnan(expected) or (name in SPANS and expected == 0), found
    else:
        assert found.value == pytest.approx(expected, rel=rel, abs=1e-12)


@pytest.mark.parametrize(("name", "shape"), forms())
@pytest.mark.parametrize("n", [1, 2, 5, 300])
def test_a_value_is_the_references(name: str, shape: str, n: int) -> None:
    for seed in range(5):
        labels, outputs = drawn(name, shape, np.random.default_rng(seed), n)
        same(name, labels, outputs[0])


@pytest.mark.parametrize("name", [*CLASSES, "f1"])
@given(rows=pairs_of(few))
def test_of_class_predictions(name: str, rows: list[tuple[int, int]]) -> None:
    labels, predictions = np.array(rows).T
    same(name, labels, predictions) if name != "f1" else same(name, labels > 1, predictions > 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", LABELS)
@given(rows=pairs_of(st.tuples(*[st.booleans()] * 3)))
def test_of_several_labels_an_example(name: str, rows: list[tuple[Any, Any]]) -> None:
    labels, predictions = np.array(rows).astype(int).transpose(1, 0, 2)
    same(name, labels, predictions)


@pytest.mark.parametrize("name", ["auroc", "average_precision", "brier", "ece"])
@given(rows=st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=15))
def test_of_probabilities_with_ties(name: str, rows: list[tuple[bool, int]]) -> None:
    labels, outputs = np.array([row[0] for row in rows]).astype(int), np.array([row[1] for row in rows]) / 6
    same(name, labels, outputs)
    if name in ("auroc", "average_precision"):
        assert value(name, labels, outputs * 40 - 7) == value(name, labels, outputs)
    else:
        both = value(name, labels, np.stack([1 - outputs, outputs], axis=1)).value
        ties = name == "ece" and (outputs == 0.5).any()
        assert ties or both == pytest.approx(value(name, labels, outputs).value, abs=1e-12)


@pytest.mark.parametrize("name", SCORES)
@given(rows=pairs_of(numbers))
def test_of_scores(name: str, rows: list[tuple[float, float]]) -> None:
    same(name, *np.array(rows).T)


@given(st.lists(st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1), min_size=1, max_size=4))
def test_of_tags(rows: list[list[tuple[str, str]]]) -> None:
    labels, outputs = ([[token[side] for token in row] for row in rows] for side in (0, 1))
    for name in SPANS:
        same(name, labels, outputs)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
@pytest.mark.parametrize("name", SCORES)
def test_values_may_be_as_large_or_small_as_floating_point(name: str, scale: float) -> None:
    labels, outputs = np.array([1.0, 2, 4, 7]), np.array([2.0, 1, 5, 9])
    plain, scaled = value(name, labels, outputs).value, value(name, labels * scale, outputs * scale).value
    assert plain is not None
    assert scaled == pytest.approx(plain * (scale if name in ("mae", "rmse") else 1), rel=1e-12)


def test_small_differences_of_large_values_keep_their_digits() -> None:
    x = np.array([0.0, 1, 3, 4])
    expected = value("pearson", x, x[::-1] ** 2).value
    assert value("pearson", x + 2.0**40, x[::-1] ** 2 + 2.0**44).value == pytest.approx(expected, rel=1e-12)


NO_F1 = "no positive label and no positive prediction: F1 is not defined"


@pytest.mark.parametrize(
    ("name", "labels", "outputs", "reason"),
    [
        *[(name, [], [], "no examples") for name in ("accuracy", "auroc", "pearson", "span_f1", "exact_match")],
        ("accuracy", [1, 0], [math.nan, 0], "1 of 2 predictions are not finite numbers"),
        ("pearson", [1, math.inf, 2], [1.0, 0, 2], "1 of 3 labels are not finite numbers"),
        ("f1", [0, 0], [0, 0], NO_F1),
        ("mcc", [0, 1], [1, 1], "constant predictions: MCC is not defined"),
        ("mcc", [1, 1], [0, 1], "only one class in the labels: MCC is not defined"),
        ("cohen_kappa", [2, 2], [2, 2], "labels and predictions are all of one class: kappa is not defined"),
        ("auroc", [1, 1], [0.1, 0.2], "only one class in the labels: AUROC is not defined"),
        ("average_precision", [0, 0], [0.1, 0.2], "no positive label: average precision is not defined"),
        *[(name, [1.0], [1.0], "fewer than two examples") for name in ("pearson", "spearman", "r2")],
        *[(name, [1.0, 2], [3.0, 3], "constant predictions") for name in ("pearson", "spearman")],
        *[(name, [3.0, 3], [1.0, 2], "constant labels") for name in ("pearson", "spearman", "r2")],
        ("r2", [1e-200, 2e-200], [1e200, 2], "its value is beyond floating point"),
        ("span_f1", [["O"]], [["O"]], "no span in the labels and none predicted: F1 is not defined"),
        ("span_precision", [["B-X"]], [["O"]], "no span is predicted: precision is not defined"),
        ("span_recall", [["O"]], [["B-X"]], "no span in the labels: recall is not defined"),
        ("token_accuracy", [[]], [[]], "no tokens"),
        *[(name, [[0, 0]], [[0, 0]], NO_F1) for name in ("micro_f1", "macro_f1")],
        ("weighted_f1", [[0, 0]], [[0, 1]], "no positive label: weighted F1 is not defined"),
    ],
)
def test_a_metric_that_is_undefined_says_why(name: str, labels: Any, outputs: Any, reason: str) -> None:
    found = value(name, labels, outputs)
    assert (found.name, found.value, found.reason) == (name, None, reason)


@pytest.mark.parametrize(
    ("name", "labels", "outputs", "expected"),
    [
        ("f1", [1, 0], [0, 0], 0),
        ("f1", [0, 0], [1, 0], 0),
        ("macro_f1", [0, 0, 2], [0, 0, 2], 1),  # class 1 is in neither
        ("macro_f1", [[1, 0], [1, 0]], [[1, 0], [1, 0]], 1),
        ("balanced_accuracy", [1, 1], [1, 0], 0.5),
        ("cohen_kappa", [0, 1], [1, 1], 0),
        ("auroc", [0, 1, 1], [0.3, 0.3, 0.3], 0.5),
        ("average_precision", [0, 1, 1, 0], [0.3, 0.3, 0.3, 0.3], 0.5),
        ("span_f1", [["B-X"]], [["O"]], 0),
        ("r2", [1.0, 2, 3], [5.0, 5, 5], -13.5),
        ("ece", [1, 1], [0.5, 0.5], 0.5),  # 0.5 predicts class 0
        ("brier", [2], [[0.5, 0.5, 0]], 1.5),
    ],
)
def test_a_metric_that_others_may_leave_undefined_has_a_value(
    name: str, labels: Any, outputs: Any, expected: float
) -> None:
    assert value(name, labels, outputs).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "labels", "outputs", "words"),
    [
        ("f2", [1], [1], "there is no metric 'f2'; there are: accuracy"),
        ("accuracy", [1, 2], [1], "must have the same shape"),
        ("accuracy", [[1, 2]], [[1, 2]], r"labels of accuracy must be \[n\]"),
        ("accuracy", [0.5], [1], "whole numbers from 0"),
        ("accuracy", [0], [-1], "whole numbers from 0"),
        ("accuracy", 1, 1, "must be arrays"),
        ("accuracy", ["a"], ["a"], "must be numbers"),
        ("mae", [1.0, None], [1.0, 2.0], "must be numbers"),
        ("f1", [2], [1], "of two classes"),
        ("auroc", [2], [1.0], "of two classes"),
        ("brier", [1], [3.0], "0 to 1; they are 3 to 3"),
        ("brier", [2], [[0.5, 0.5]], "a label is 2, but outputs have 2 classes"),
        ("ece", [0], [[0.5, 0.6]], "must sum to 1"),
        ("exact_match", [1], [1], r"must be \[n, labels\]"),
        ("exact_match", [[2]], [[1]], "must be 0 or 1"),
        ("span_f1", [["O", "O"]], [["O"]], "as many tags"),
        ("span_f1", [["O"]], [["PER"]], "'PER' is not a tag of BIO or BIOES"),
        ("span_f1", [[""]], [["O"]], "'' is not a tag"),
    ],
)
def test_what_is_not_a_metrics_input_is_refused(name: str, labels: Any, outputs: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        value(name, labels, outputs)
