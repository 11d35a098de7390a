"""The registry, tables of each class, spans, and that the package stays light."""

from __future__ import annotations

import math
import subprocess
import sys
import typing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import sequence_labeling as seqeval
from sklearn.metrics import precision_recall_fscore_support

from peftbench.metrics import METRICS, TaskKind, headline_for, metrics_for
from peftbench.metrics.per_class import ClassRow, per_class, per_span_type
from peftbench.metrics.spans import spans_of
from peftbench.metrics.value import value
from tests.metrics.cases import REFERENCE, TAGS, drawn, forms, pairs_of

KINDS = typing.get_args(TaskKind)


def test_every_metric_applies_to_some_kind_and_has_a_reference() -> None:
    assert {name for kind in KINDS for name in metrics_for(kind)} == set(METRICS) == set(REFERENCE)
    assert all(name == info.name for name, info in METRICS.items())
    assert {name for name, info in METRICS.items() if not info.higher_is_better} == {"mae", "rmse", "brier", "ece"}


def test_headline_metrics_can_be_averaged_over_tasks() -> None:
    assert [headline_for(kind) for kind in KINDS] == ["accuracy", "accuracy", "pearson", "r2", "micro_f1", "span_f1"]
    assert all(METRICS[headline_for(kind)].higher_is_better for kind in KINDS)


@pytest.mark.parametrize(("name", "shape"), forms())
def test_values_are_within_the_bounds(name: str, shape: str) -> None:
    info = METRICS[name]
    for seed in range(20):
        labels, outputs = drawn(name, shape, np.random.default_rng(seed), 1 + seed)
        found = value(name, labels, outputs[0]).value
        assert found is None or info.low <= found <= info.high


@given(pairs_of(st.integers(0, 3)))
def test_a_table_of_classes_is_sklearns(rows: list[tuple[int, int]]) -> None:
    labels, predictions = np.array(rows).T
    expected = precision_recall_fscore_support(labels, predictions, labels=range(4), zero_division=math.nan)
    table = per_class(labels, predictions, 4)
    assert [row.name for row in table] == ["0", "1", "2", "3"]
    for at, column in enumerate(("precision", "recall", "f1", "support")):
        found = [getattr(row, column) for row in table]
        assert [math.nan if each is None else each for each in found] == pytest.approx(
            list(expected[at]), abs=1e-12, nan_ok=True
        )


def test_a_table_of_labels_and_of_named_classes() -> None:
    table = per_class([[1, 0], [1, 1]], [[1, 0], [0, 0]], ["joy", "fear"])
    assert table == [ClassRow("joy", 1, 0.5, 2 / 3, 2, 1), ClassRow("fear", None, 0, 0, 1, 0)]
    with pytest.raises(ValueError, match="a class index is 2, of 2 classes"):
        per_class([0, 2], [0, 1], ["a", "b"])
    with pytest.raises(ValueError, match="labels have 2 columns for 3 classes"):
        per_class([[1, 0]], [[1, 0]], 3)


@given(st.lists(st.sampled_from(TAGS), max_size=12))
def test_spans_are_seqevals(tags: list[str]) -> None:
    assert spans_of(tags) == seqeval.get_entities(tags)


@given(st.lists(st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1), min_size=1, max_size=4))
def test_a_table_of_span_types_is_seqevals(rows: list[list[tuple[str, str]]]) -> None:
    labels, outputs = ([[token[side] for token in row] for row in rows] for side in (0, 1))
    table = per_span_type(labels, outputs)
    expected = seqeval.precision_recall_fscore_support(labels, outputs, average=None, zero_division=0)
    if not table:
        return
    for at, column in enumerate(("precision", "recall", "f1", "support")):
        assert [getattr(row, column) or 0 for row in table] == pytest.approx(list(expected[at]), abs=1e-12)


def test_the_package_needs_no_numpy_and_what_computes_nothing_else() -> None:
    heavy = ("torch", "scipy", "sklearn", "seqeval", "pandas", "pydantic")
    script = f"""
import sys, peftbench.metrics
print([m for m in ("numpy", *{heavy!r}) if m in sys.modules])
import peftbench.metrics.value, peftbench.metrics.weighted, peftbench.metrics.per_class
print([m for m in {heavy!r} if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]
