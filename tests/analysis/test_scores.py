"""The two summary scores, against the study's own figures."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench.analysis.scores import has_leaderboard, leaderboard, mean_of

scores = st.floats(0, 1)


def test_the_studys_leaderboard_score() -> None:
    values = {"sst": ("accuracy", 0.524), "paraphrase": ("accuracy", 0.892), "sts": ("pearson", 0.862)}
    assert leaderboard(values) == pytest.approx(0.782, abs=5e-4)
    assert mean_of([value for _, value in values.values()]) == pytest.approx((0.524 + 0.892 + 0.862) / 3)


@given(st.lists(scores, min_size=1, max_size=6))
def test_the_dev_average_is_the_plain_mean(values: list[float]) -> None:
    assert mean_of(values) == pytest.approx(statistics.fmean(values))


@given(st.lists(st.one_of(st.none(), scores), max_size=6))
def test_it_does_not_exist_where_one_of_its_parts_does_not(values: list[float | None]) -> None:
    exists = bool(values) and None not in values
    assert (mean_of(values) is not None) is exists


@given(st.permutations(["sst", "paraphrase", "sts", "cfimdb", "urgency"]), st.integers(0, 5))
def test_a_leaderboard_score_takes_the_courses_three_tasks(names: list[str], count: int) -> None:
    """None with fewer of them; other tasks are ignored."""
    there = names[:count]
    found = leaderboard({name: ("pearson" if name == "sts" else "accuracy", 0.6) for name in there})
    if {"sst", "paraphrase", "sts"} <= set(there):
        assert found == pytest.approx((0.6 + 0.6 + 0.8) / 3)
    else:
        assert found is None
    assert has_leaderboard(there) is (found is not None)


@pytest.mark.parametrize("missing", ["sst", "paraphrase", "sts"])
def test_it_does_not_exist_without_a_value_of_each(missing: str) -> None:
    values = {name: ("accuracy", None if name == missing else 0.5) for name in ("sst", "paraphrase", "sts")}
    assert leaderboard(values) is None


@pytest.mark.parametrize(("r", "mapped"), [(-1.0, 0.0), (0.0, 0.5), (1.0, 1.0)])
def test_a_correlation_is_mapped_to_0_to_1(r: float, mapped: float) -> None:
    values = {"sst": ("accuracy", 0.0), "paraphrase": ("accuracy", 0.0), "sts": ("pearson", r)}
    assert leaderboard(values) == pytest.approx(mapped / 3)


def test_zero_is_a_score() -> None:
    assert mean_of([0.0, 0.0]) == 0.0
