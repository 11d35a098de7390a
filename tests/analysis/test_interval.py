"""Student's t, intervals with two sources of noise, and power, compared with scipy and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from peftbench.analysis.stats.interval import VarianceComponents, p_value
from peftbench.analysis.stats.power import POWER, detectable, power, power_analysis
from peftbench.analysis.stats.student_t import quantile, two_sided_p
from peftbench.analysis.stats.variance_components import equal_sizes, of_means, satterthwaite

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
    noise = VarianceComponents(float(np.var(values, ddof=1)) / 4, 3.0, 0.0)
    expected = stats.ttest_1samp(values, 0)
    low, high = expected.confidence_interval()
    assert noise.half_width() == pytest.approx((high - low) / 2)
    assert p_value(float(np.mean(values)), noise) == pytest.approx(expected.pvalue, rel=1e-6)


def test_with_examples_alone_it_is_the_z_test() -> None:
    noise = VarianceComponents(0.0, math.inf, 0.04)
    assert noise.half_width() == pytest.approx(1.959964 * 0.2, rel=1e-6)
    assert p_value(0.5, noise) == pytest.approx(2 * stats.norm.sf(2.5), rel=1e-6)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.lists(st.floats(-1, 1), min_size=2, max_size=6))
def test_satterthwaites_degrees_are_scipys(a: list[float], b: list[float]) -> None:
    if np.var(a) < 1e-12 or np.var(b) < 1e-12:
        return
    variance, df = satterthwaite([(float(np.var(each, ddof=1)) / len(each), len(each) - 1) for each in (a, b)])
    expected = stats.ttest_ind(b, a, equal_var=False)
    assert df == pytest.approx(expected.df, rel=1e-6)
    assert two_sided_p((np.mean(b) - np.mean(a)) / math.sqrt(variance), df) == pytest.approx(expected.pvalue, rel=1e-6)


def test_groups_of_equal_size_have_degrees_from_one_sides_to_both_sides() -> None:
    """Welch 1947: (a + b)^2 / ((a^2 + b^2) / (n + 1)) - 2."""
    assert equal_sizes(0.03, 0.0, 3) == pytest.approx((0.01, 2.0))
    assert equal_sizes(0.03, 0.03, 3) == pytest.approx((0.02, 4.0))
    assert equal_sizes(0.15, 0.03, 3) == pytest.approx((0.06, 0.06**2 / ((0.05**2 + 0.01**2) / 4) - 2))
    assert equal_sizes(0.0, 0.0, 3) == (0.0, 4.0)


def test_of_unequal_sizes_the_noisier_side_has_its_own_t() -> None:
    """t of one side where it has all the noise; with equal noise, between Welch's and the sum of each side's."""
    assert of_means(0.02, 2, 0.0, 10).half_width() == pytest.approx(stats.t.ppf(0.975, 1) * 0.1)
    assert of_means(0.0, 2, 0.1, 10).half_width() == pytest.approx(stats.t.ppf(0.975, 9) * 0.1)
    t = stats.t.ppf(0.975, [1, 9, 10])
    both = of_means(0.02, 2, 0.1, 10)  # of either mean: 0.01
    apart = 0.01**2 * (t[0] ** 2 + t[1] ** 2 + 2 * t[2] ** 2) / 0.02
    welch = stats.t.ppf(0.975, 0.02**2 / (0.01**2 / 1 + 0.01**2 / 9)) ** 2 * 0.02
    unlike = (1 - (1 / 9) ** 2) ** 4
    assert both.half_width() == pytest.approx(math.sqrt(unlike * apart + (1 - unlike) * welch))
    many = of_means(1.0, 4_000, 3.0, 9_000)
    assert many.half_width() == pytest.approx(1.96 * math.sqrt(1 / 4_000 + 3 / 9_000), rel=1e-3)
    assert of_means(0.0, 2, 0.0, 3).half_width() == 0


@pytest.mark.parametrize(
    ("runs", "spreads"),
    [
        *(((2, 10), (2, 1)), ((2, 10), (1, 1)), ((5, 2), (1, 2)), ((3, 7), (2, 1))),
        *(((2, 3), (6, 1)), ((3, 5), (1, 1)), ((3, 5), (3, 1)), ((2, 4), (3, 1))),
    ],
)
def test_unequal_groups_of_unlike_spread_are_covered(runs: tuple[int, int], spreads: tuple[float, float]) -> None:
    """With Welch's degrees of freedom alone, two of ten cover 88 to 90 %."""
    assert 0.925 <= covered(runs, spreads) <= 0.975


@pytest.mark.parametrize(("runs", "spreads"), [((2, 3), (1, 1)), ((2, 3), (1, 3)), ((2, 4), (1, 2))])
def test_two_runs_against_few_are_a_little_too_wide(runs: tuple[int, int], spreads: tuple[float, float]) -> None:
    """Without Welch's degrees of freedom it was 98.5 %."""
    assert 0.95 <= covered(runs, spreads) <= 0.983


def covered(runs: tuple[int, int], spreads: tuple[float, float]) -> float:
    rng, trials, held = np.random.default_rng(6), 4_000, 0
    a, b = (rng.normal(size=(trials, n)) * sd for n, sd in zip(runs, spreads, strict=True))
    for x, y in zip(a, b, strict=True):
        noise = of_means(float(x.var(ddof=1)), runs[0], float(y.var(ddof=1)), runs[1])
        held += abs(y.mean() - x.mean()) <= noise.half_width()
    return float(held) / trials


def test_seeds_that_agree_by_chance_are_no_narrower_than_these_runs() -> None:
    noise = VarianceComponents(0.0, 1.0, 0.0, 9.0, of_runs=0.01**2)
    assert noise.half_width() == pytest.approx(0.01 * stats.t.ppf(0.975, 9))
    assert p_value(0.02, noise) == pytest.approx(2 * stats.t.sf(2, 9), rel=1e-6)
    assert VarianceComponents(1.0, 1.0, 0.0, 9.0, of_runs=0.01**2).half_width() == pytest.approx(stats.t.ppf(0.975, 1))


@given(st.floats(1e-4, 1), st.sampled_from([1.0, 2.0, 4.0, 8.0, math.inf]), st.floats(1e-4, 1), st.floats(1e-3, 5))
def test_the_p_value_is_the_level_at_which_zero_is_on_the_edge(
    seeds: float, df: float, examples: float, difference: float
) -> None:
    noise = VarianceComponents(seeds, df, examples)
    p = p_value(difference, noise)
    if 1e-11 < p < 0.99:
        assert noise.half_width(p) == pytest.approx(difference, rel=1e-4)
    assert (p <= 0.05) == (noise.half_width() <= difference)


def test_no_difference_has_no_p_value_but_one() -> None:
    assert p_value(0.0, VarianceComponents(0.1, 2.0, 0.1)) == 1.0
    assert p_value(0.0, VarianceComponents(0.0, math.inf, 0.0)) == 1.0


@pytest.mark.parametrize("df", [1.0, 2.0, 4.0, 10.0, 60.0])
def test_the_power_of_seeds_alone_is_that_of_the_noncentral_t(df: float) -> None:
    edge = stats.t.ppf(0.975, df)
    for true in (0.5, 2.0, 5.0):
        expected = stats.nct.sf(edge, df, true) + stats.nct.cdf(-edge, df, true)
        assert power(true, VarianceComponents(1.0, df, 0.0)) == pytest.approx(expected, abs=2e-4)


def test_a_detectable_difference_is_detected_four_times_in_five() -> None:
    noise = VarianceComponents(0.5, 2.0, 0.7)
    true, rng, trials = detectable(noise), np.random.default_rng(5), 20_000
    seen = true + rng.normal(size=trials) * math.sqrt(0.5 + 0.7)
    spread = 0.5 * rng.chisquare(2, trials) / 2
    half = np.sqrt(stats.t.ppf(0.975, 2) ** 2 * spread + stats.norm.ppf(0.975) ** 2 * 0.7)
    assert np.mean(np.abs(seen) > half) == pytest.approx(POWER, abs=0.01)


def test_seeds_needed_are_those_that_find_it() -> None:
    noise = VarianceComponents(0.02**2 / 3, 2.0, 0.004**2)
    found = power_analysis(0.02, noise, (3, 3), paired=True)
    assert found.seeds_needed is not None
    at = [
        power(0.02, VarianceComponents(0.02**2 / n, n - 1.0, 0.004**2))
        for n in (found.seeds_needed - 1, found.seeds_needed)
    ]
    assert at[0] < POWER <= at[1]
    assert found.unsettled is None
    apart = power_analysis(0.02, VarianceComponents(2 * 0.02**2 / 3, 4.0, 0.004**2), (3, 3), paired=False)
    assert apart.seeds_needed is not None and apart.seeds_needed > found.seeds_needed


def test_where_no_number_of_seeds_is_enough_it_says_so() -> None:
    found = power_analysis(0.01, VarianceComponents(1e-4, 2.0, 0.02**2), (3, 3), paired=True)
    assert (found.seeds_needed, found.unsettled) == (None, "too few examples")


@pytest.mark.parametrize("runs", [(1, 1), (1, 5)])
def test_a_single_run_gives_no_seed_variance(runs: tuple[int, int]) -> None:
    found = power_analysis(0.01, VarianceComponents(0.0, math.inf, 0.01**2), runs, paired=False)
    assert (found.seeds_needed, found.unsettled) == (
        None,
        "one seed each" if runs == (1, 1) else "one seed on a side",
    )
    assert found.detectable == pytest.approx(0.01 * (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)), rel=1e-3)


def test_without_noise_there_is_no_detectable_difference() -> None:
    assert power_analysis(0.0, VarianceComponents(0.0, 2.0, 0.0), (3, 3), paired=True).detectable is None


def test_power_with_seeds_that_agree_by_chance_uses_the_runs_noise() -> None:
    agreeing = VarianceComponents(0.0, 1.0, 0.0, 50.0, of_runs=0.01**2)
    assert detectable(agreeing) == pytest.approx(detectable(VarianceComponents(0.01**2, 1.0, 0.0)), rel=0.01)
    found = power_analysis(0.03, agreeing, (2, 2), paired=True)
    assert found.seeds_needed is not None and found.seeds_needed > 2


def test_the_detectable_difference_of_unequal_sides_has_80_percent_power() -> None:
    rng, trials = np.random.default_rng(9), 4_000
    sides = ((0.4, 1.0), (0.1, 4.0))
    noise = VarianceComponents(*satterthwaite(sides), 0.0, sides=sides)
    true, seen = detectable(noise), 0
    for off, a, b in zip(rng.normal(size=trials), rng.chisquare(1, trials), rng.chisquare(4, trials), strict=True):
        estimated = ((0.4 * a, 1.0), (0.1 * b / 4, 4.0))
        seen += (
            abs(true + off * math.sqrt(0.5))
            > VarianceComponents(*satterthwaite(estimated), 0.0, sides=estimated).half_width()
        )
    assert seen / trials == pytest.approx(POWER, abs=0.02)


@pytest.mark.parametrize(("seeds", "others"), [(2, 0.0), (3, 0.0), (5, 0.0), (3, 1.0)])
def test_the_detectable_difference_accounts_for_holm(seeds: int, others: float) -> None:
    """One of four metrics has that difference; the others have none, or the same. Uncorrected, the power was 0.3."""
    noise = VarianceComponents(1.0 / seeds, seeds - 1.0, 0.1)
    true = power_analysis(0.5, noise, (seeds, seeds), paired=True, tests=4).detectable
    rng, trials = np.random.default_rng(12), 20_000
    gains = np.array([true, *(others * true,) * 3])
    means = gains + rng.normal(size=(trials, 4)) * math.sqrt(1 / seeds + 0.1)
    spreads = rng.chisquare(seeds - 1, (trials, 4)) / (seeds - 1) / seeds
    kept = np.zeros((trials, 4), bool)
    for _ in range(4):  # Holm: at each step, alpha over the number of remaining tests
        alpha = 0.05 / np.maximum(4 - kept.sum(axis=1, keepdims=True), 1)
        t, z = stats.t.ppf(1 - alpha / 2, seeds - 1), stats.norm.ppf(1 - alpha / 2)
        kept |= abs(means) > np.sqrt(t**2 * spreads + z**2 * 0.1)
    share = kept[:, 0].mean()
    assert (0.79 <= share <= 0.83) if not others else share >= 0.8
