"""The two summary scores, against the study's own figures."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench.analysis.scores import dev_average, leaderboard

scores = st.floats(0, 1)


def test_the_studys_leaderboard_score() -> None:
    values = {"sst": ("accuracy", 0.524), "paraphrase": ("accuracy", 0.892), "sts": ("pearson", 0.862)}
    assert leaderboard(values) == pytest.approx(0.782, abs=5e-4)
    assert dev_average([value for _, value in values.values()]) == pytest.approx((0.524 + 0.892 + 0.862) / 3)


@given(st.lists(scores, min_size=1, max_size=6))
def test_the_dev_average_is_the_plain_mean(values: list[float]) -> None:
    assert dev_average(values) == pytest.approx(statistics.fmean(values))


@given(st.lists(st.one_of(st.none(), scores), max_size=6))
def test_it_does_not_exist_where_one_of_its_parts_does_not(values: list[float | None]) -> None:
    exists = bool(values) and None not in values
    assert (dev_average(values) is not None) is exists
    assert (leaderboard({str(n): ("pearson", value) for n, value in enumerate(values)}) is not None) is exists


@given(st.lists(scores, min_size=1, max_size=6))
def test_without_a_correlation_both_scores_are_the_same(values: list[float]) -> None:
    assert leaderboard({str(n): ("accuracy", value) for n, value in enumerate(values)}) == dev_average(values)


@pytest.mark.parametrize(("r", "mapped"), [(-1.0, 0.0), (0.0, 0.5), (1.0, 1.0)])
def test_a_correlation_is_mapped_to_0_to_1(r: float, mapped: float) -> None:
    assert leaderboard({"sts": ("pearson", r)}) == mapped


def test_zero_is_a_score() -> None:
    assert dev_average([0.0, 0.0]) == 0.0
