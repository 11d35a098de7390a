"""Student's t, intervals from two kinds of noise, and what runs could have shown: against scipy and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from peftbench.analysis.interval import Noise, p_value
from peftbench.analysis.noise import equal_sizes, welch
from peftbench.analysis.outlook import POWER, detectable, outlook, power
from peftbench.analysis.student import quantile, two_sided_p

DEGREES = st.floats(0.6, 5_000)


@given(st.floats(-60, 60), DEGREES)
def test_the_tail_of_t_is_scipys(t: float, df: float) -> None:
    assert two_sided_p(t, df) == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-7, abs=1e-280)


@given(st.floats(1e-9, 1 - 1e-9), DEGREES)
def test_the_quantile_of_t_is_scipys(p: float, df: float) -> None:
    assert quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-6, abs=1e-9)


def test_the_quantiles_of_the_printed_tables() -> None:
    assert [round(quantile(0.975, df), 3) for df in (1, 2, 4, 9)] == [12.706, 4.303, 2.776, 2.262]
    assert quantile(0.975, math.inf) == pytest.approx(1.959964, abs=1e-6)


def test_with_seeds_alone_it_is_the_t_test() -> None:
    values = [0.011, 0.023, 0.004, 0.031]
    noise = Noise(float(np.var(values, ddof=1)) / 4, 3.0, 0.0)
    expected = stats.ttest_1samp(values, 0)
    low, high = expected.confidence_interval()
    assert noise.half_width() == pytest.approx((high - low) / 2)
    assert p_value(float(np.mean(values)), noise) == pytest.approx(expected.pvalue, rel=1e-6)


def test_with_examples_alone_it_is_the_z_test() -> None:
    noise = Noise(0.0, math.inf, 0.04)
    assert noise.half_width() == pytest.approx(1.959964 * 0.2, rel=1e-6)
    assert p_value(0.5, noise) == pytest.approx(2 * stats.norm.sf(2.5), rel=1e-6)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.lists(st.floats(-1, 1), min_size=2, max_size=6))
def test_welchs_degrees_are_scipys(a: list[float], b: list[float]) -> None:
    if np.var(a) < 1e-12 or np.var(b) < 1e-12:
        return
    variance, df = welch(float(np.var(a, ddof=1)), len(a), float(np.var(b, ddof=1)), len(b))
    expected = stats.ttest_ind(b, a, equal_var=False)
    assert df == pytest.approx(expected.df, rel=1e-6)
    assert two_sided_p((np.mean(b) - np.mean(a)) / math.sqrt(variance), df) == pytest.approx(expected.pvalue, rel=1e-6)


def test_groups_of_equal_size_have_degrees_from_one_sides_to_both_sides() -> None:
    """Welch 1947: (a + b)^2 / ((a^2 + b^2) / (n + 1)) - 2."""
    assert equal_sizes(0.03, 3, 0.0, 3) == pytest.approx((0.01, 2.0))
    assert equal_sizes(0.03, 3, 0.03, 3) == pytest.approx((0.02, 4.0))
    assert equal_sizes(0.15, 3, 0.03, 3) == pytest.approx((0.06, 0.06**2 / ((0.05**2 + 0.01**2) / 4) - 2))
    assert equal_sizes(0.0, 3, 0.0, 3) == (0.0, 4.0)


def test_a_side_of_one_run_takes_the_spread_of_the_other() -> None:
    assert welch(None, 1, 0.03, 3) == pytest.approx((0.03 + 0.01, 2.0))
    assert welch(0.03, 3, None, 1) == pytest.approx((0.03 + 0.01, 2.0))


@given(st.floats(1e-4, 1), st.sampled_from([1.0, 2.0, 4.0, 8.0, math.inf]), st.floats(1e-4, 1), st.floats(1e-3, 5))
def test_the_p_value_is_the_level_at_which_zero_is_on_the_edge(
    seeds: float, df: float, examples: float, difference: float
) -> None:
    noise = Noise(seeds, df, examples)
    p = p_value(difference, noise)
    if 1e-11 < p < 0.99:
        assert noise.half_width(p) == pytest.approx(difference, rel=1e-4)
    assert (p <= 0.05) == (noise.half_width() <= difference)


def test_no_difference_has_no_p_value_but_one() -> None:
    assert p_value(0.0, Noise(0.1, 2.0, 0.1)) == 1.0
    assert p_value(0.0, Noise(0.0, math.inf, 0.0)) == 1.0


@pytest.mark.parametrize("df", [1.0, 2.0, 4.0, 10.0, 60.0])
def test_the_power_of_seeds_alone_is_that_of_the_noncentral_t(df: float) -> None:
    edge = stats.t.ppf(0.975, df)
    for true in (0.5, 2.0, 5.0):
        expected = stats.nct.sf(edge, df, true) + stats.nct.cdf(-edge, df, true)
        assert power(true, Noise(1.0, df, 0.0)) == pytest.approx(expected, abs=2e-4)


def test_a_detectable_difference_is_detected_four_times_in_five() -> None:
    noise = Noise(0.5, 2.0, 0.7)
    true, rng, trials = detectable(noise), np.random.default_rng(5), 20_000
    seen = true + rng.normal(size=trials) * math.sqrt(0.5 + 0.7)
    spread = 0.5 * rng.chisquare(2, trials) / 2
    half = np.sqrt(stats.t.ppf(0.975, 2) ** 2 * spread + stats.norm.ppf(0.975) ** 2 * 0.7)
    assert np.mean(np.abs(seen) > half) == pytest.approx(POWER, abs=0.01)


def test_seeds_needed_are_those_that_find_it() -> None:
    noise = Noise(0.02**2 / 3, 2.0, 0.004**2)
    found = outlook(0.02, noise, (3, 3), paired=True)
    assert found.seeds_needed is not None
    at = [power(0.02, Noise(0.02**2 / n, n - 1.0, 0.004**2)) for n in (found.seeds_needed - 1, found.seeds_needed)]
    assert at[0] < POWER <= at[1]
    assert found.unsettled is None
    apart = outlook(0.02, Noise(2 * 0.02**2 / 3, 4.0, 0.004**2), (3, 3), paired=False)
    assert apart.seeds_needed is not None and apart.seeds_needed > found.seeds_needed


def test_where_no_number_of_seeds_is_enough_it_says_so() -> None:
    found = outlook(0.01, Noise(1e-4, 2.0, 0.02**2), (3, 3), paired=True)
    assert (found.seeds_needed, found.unsettled) == (None, "too few examples")


def test_one_seed_each_tells_nothing_of_seeds() -> None:
    found = outlook(0.01, Noise(0.0, math.inf, 0.01**2), (1, 1), paired=False)
    assert (found.seeds_needed, found.unsettled) == (None, "one seed each")
    assert found.detectable == pytest.approx(0.01 * (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)), rel=1e-3)
