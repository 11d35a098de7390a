"""The memory parts: sums, JSON round trip, and errors of predictions."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench.memory.parts import Anatomy, BatchShape, score

SOME = Anatomy(weights=100, trainable=10, gradients=10, optimizer=20, activations=50, workspace=5)


def test_the_parts_add_up_and_trainable_is_none_of_its_own() -> None:
    assert SOME.total == 100 + 10 + 20 + 50 + 5


def test_without_a_measured_peak_there_is_neither_workspace_nor_total() -> None:
    open_ = Anatomy(100, 10, 10, 20, 50, None)
    assert open_.total is None and open_.kept == 180
    assert open_.as_dict()["workspace"] is None and open_.as_dict()["total"] is None


@pytest.mark.parametrize("anatomy", [SOME, Anatomy(1, 0, 0, 0, 0, None)])
def test_json_and_back(anatomy: Anatomy) -> None:
    assert Anatomy.from_dict(json.loads(json.dumps(anatomy.as_dict()))) == anatomy


def test_a_missing_part_is_told() -> None:
    with pytest.raises(KeyError, match="optimizer"):
        Anatomy.from_dict({"weights": 1, "trainable": 1, "gradients": 1})


def test_the_score_is_relative_to_what_was_measured() -> None:
    found = score(SOME, Anatomy(200, 10, 10, 20, 40, 0))
    assert found["weights"] == -0.5 and found["activations"] == 0.25 and found["gradients"] == 0
    assert found["workspace"] is None  # 5 bytes measured as 0
    assert found["total"] == (185 - 270) / 270


def test_what_was_not_measured_has_no_score() -> None:
    found = score(SOME, Anatomy(100, 10, 10, 20, 50, None))
    assert found["workspace"] is None and found["total"] is None and found["weights"] == 0


def test_both_nothing_is_right() -> None:
    assert score(Anatomy(1, 0, 0, 0, 0, 0), Anatomy(1, 0, 0, 0, 0, 0))["gradients"] == 0


def test_a_batch_counts_its_tokens() -> None:
    shape = BatchShape(((5, 3), (2, 7)))
    assert (shape.examples, shape.tokens, shape.padded) == (2, 17, 24)


@pytest.mark.parametrize("parts", [(), ((),), ((3, 0),), ((3,), (2, 2))])
def test_a_batch_has_texts(parts: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        BatchShape(parts)


def test_a_batchs_load_is_its_rows_and_its_attention() -> None:
    shape = BatchShape(((5, 3), (2, 7)))
    assert shape.load(packed=True) == (17, 25 + 9 + 4 + 49)
    assert shape.load(packed=False) == (24, 2 * 25 + 2 * 49)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_padding_never_lightens(lengths: list[int]) -> None:
    shape = BatchShape((tuple(lengths),))
    assert shape.load(packed=True) <= shape.load(packed=False)
    assert shape.load(packed=True)[0] == shape.tokens and shape.load(packed=False)[0] == shape.padded
