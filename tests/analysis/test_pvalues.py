"""McNemar's test and Holm's correction against scipy and published worked examples."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from peftbench.analysis.stats.pvalues import holm, mcnemar_exact


@given(st.integers(0, 400), st.integers(0, 400))
@example(0, 0)
@example(1, 0)
@example(0, 2000)
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    expected = stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-9, abs=1e-300)
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)
    assert 0 <= mcnemar_exact(b, c) <= 1


def test_mcnemar_as_published() -> None:
    """Airway reactivity before and after transplantation, 1 against 7 children: Fagerland and others 2013, table 6."""
    assert round(mcnemar_exact(1, 7), 3) == 0.070


def test_mcnemar_of_many_thousand_pairs_is_quick() -> None:
    """The study's paraphrase dev set has 20,212 examples."""
    expected = stats.binomtest(3_000, 6_200).pvalue
    start = time.process_time()
    found = mcnemar_exact(3_000, 3_200)
    assert time.process_time() - start < 5  # CPU time; it takes some hundredths of a second
    assert found == pytest.approx(expected, rel=1e-9)


def test_holm_as_worked_by_hand() -> None:
    """0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1 raised to the previous value."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_of_one_and_of_none() -> None:
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_definition_rejects(p_values: list[float]) -> None:
    """Holm 1979: in ascending order, reject while p <= alpha / (number of remaining tests)."""
    alpha, rejected = 0.05, set()
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        if (len(p_values) - rank) * p_values[place] > alpha:
            break
        rejected.add(place)
    adjusted = holm(p_values)
    assert {place for place, p in enumerate(adjusted) if p <= alpha} == rejected
    assert all(max(p, 0) <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
