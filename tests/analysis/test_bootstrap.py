"""Groups of several seeds on the same examples: the bootstrap, variance components, and Dev Avg."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from peftbench.analysis.comparison import compare
from peftbench.analysis.stats.bootstrap import ScoreSample, average, deviations, resampled, scored
from peftbench.analysis.stats.difference import difference
from peftbench.analysis.stats.variance_components import variance_components_of
from tests.factories import comparable_record as record
from tests.factories import run_ids as runs
from tests.tiny import TASKS


def made(metric: str, count: int = 6, n: int = 400, seed: int = 0, name: str = "sst") -> ScoreSample:
    rng = np.random.default_rng(seed)
    hardness, noise = rng.normal(size=n), rng.normal(size=(count, n))
    if metric == "accuracy":
        found = scored(name, metric, runs(count), np.ones(n), (0.5 + hardness + noise > 0).astype(float))
    else:
        labels = rng.normal(size=n)
        found = scored(name, metric, runs(count), labels, labels + hardness + noise)
    assert found is not None
    return found


def test_accuracys_covariance_is_that_of_a_drawn_bootstrap() -> None:
    found = made("accuracy", 3)
    drawn = resampled(found)
    assert drawn.shape == (10_000, 3)
    assert np.cov(drawn.T) == pytest.approx(found.covariance, rel=0.08)
    assert drawn.mean(axis=0) == pytest.approx(found.values, abs=0.002)


@pytest.mark.slow
def test_pearsons_interval_is_that_of_scipys_bootstrap() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(size=120)
    a, b = y + rng.normal(size=120), y + 0.5 * rng.normal(size=120)
    found = scored("sts", "pearson", runs(2), y, np.stack([a, b]))
    expected = stats.bootstrap(
        (y, a, b),
        lambda y, a, b: stats.pearsonr(y, b)[0] - stats.pearsonr(y, a)[0],
        paired=True,
        vectorized=False,
        n_resamples=1500,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    got = difference(found, ["r0"], ["r1"], paired=True)
    width = expected.high - expected.low
    assert got.low == pytest.approx(expected.low, abs=0.1 * width)
    assert got.high == pytest.approx(expected.high, abs=0.1 * width)
    assert got.difference == pytest.approx(stats.pearsonr(y, b)[0] - stats.pearsonr(y, a)[0])


def test_the_variance_of_one_r_is_the_large_sample_formula() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 2000).T
    found = scored("sts", "pearson", runs(1), y, x[None])
    assert found.covariance[0, 0] == pytest.approx((1 - found.values[0] ** 2) ** 2 / 2000, rel=0.15)


@pytest.mark.parametrize("metric", ["accuracy", "pearson"])
def test_deviations_are_those_of_the_same_resamples(metric: str) -> None:
    found = made(metric, 4)
    weights = np.array([-0.5, -0.5, 0.5, 0.5])
    moved = deviations(found, weights)
    assert moved.std() == pytest.approx(np.sqrt(weights @ found.covariance @ weights), rel=0.05)
    assert abs(moved.mean()) < 0.1 * moved.std()


def test_dev_avg_adds_up_tasks_with_examples_of_their_own() -> None:
    parts = [made("accuracy", seed=1, name="a"), made("accuracy", seed=2, name="b"), made("pearson", seed=3, name="c")]
    whole = average(parts)
    assert whole.values == pytest.approx(np.mean([part.values for part in parts], axis=0))
    assert whole.covariance == pytest.approx(sum(part.covariance for part in parts) / 9)
    assert whole.examples == 1200
    weights = np.array([-1.0, 1, 0, 0, 0, 0])
    assert deviations(whole, weights).std() == pytest.approx(np.sqrt(weights @ whole.covariance @ weights), rel=0.06)


def test_dev_avg_has_the_runs_that_all_tasks_have() -> None:
    parts = [made("accuracy", 3, name="a"), made("accuracy", 2, name="b")]
    assert average(parts).runs == ("r0", "r1")
    assert average([]) is None


@pytest.mark.parametrize("paired", [True, False])
def test_the_split_of_the_noise_adds_up_to_the_variance_of_the_difference(paired: bool) -> None:
    """Over many draws of the same population, the seeds' and examples' parts add up to the difference's variance."""
    rng, seen, parts = np.random.default_rng(11), [], []
    for _ in range(400):
        hard, seeds = rng.normal(size=200), 0.3 * rng.normal(size=6)
        correct = (hard + seeds[:, None] + rng.normal(size=(6, 200)) + 0.4 > 0).astype(float)
        found = scored("sst", "accuracy", runs(6), np.ones(200), correct)
        noise = variance_components_of(found, [0, 1, 2], [3, 4, 5], paired)
        seen.append(found.values[3:].mean() - found.values[:3].mean())
        parts.append(noise.of_seeds + noise.of_examples)
    assert np.mean(parts) == pytest.approx(np.var(seen), rel=0.2)


def test_one_run_against_three_is_about_these_runs() -> None:
    """The single run's seed variance is unknown, and that of the three is not used in its place."""
    found = made("accuracy", 4)
    row = difference(found, ["r0"], ["r1", "r2", "r3"], paired=False)
    weights = np.array([-1, 1 / 3, 1 / 3, 1 / 3])
    assert row.noise.of_seeds == 0
    assert row.noise.of_examples == pytest.approx(weights @ found.covariance @ weights)
    assert row.of_these_runs and not row.one_each
    low, high = np.percentile(resampled(found) @ weights, (2.5, 97.5))
    assert (row.low, row.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def apart(*changed: dict[int, float]) -> ScoreSample:
    """Return runs that are right on all of 300 examples except those given, by run."""
    correct = np.ones((len(changed), 300))
    for row, wrong in zip(correct, changed, strict=True):
        for place, value in wrong.items():
            row[place] = value
    return scored("sst", "accuracy", runs(len(changed)), np.ones(300), correct)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("lost", [1, 2, 4])
def test_seeds_whose_differences_coincide_are_no_certainty(paired: bool, seeds: int, lost: int) -> None:
    """Each run of one side is wrong on different examples, equally many: the seed variance is zero by chance."""
    of_b = [{seed * lost + n: 0.0 for n in range(lost)} for seed in range(seeds)]
    sample = apart(*({} for _ in range(seeds)), *of_b)
    row = difference(sample, runs(2 * seeds)[:seeds], runs(2 * seeds)[seeds:], paired)
    assert row.noise.of_seeds == pytest.approx(0, abs=1e-12)
    weights = np.repeat((-1 / seeds, 1 / seeds), seeds)
    edges = row.difference + np.percentile(deviations(sample, weights), (2.5, 97.5))
    assert row.low <= edges[0] + 1e-12
    assert row.high >= edges[1] - 1e-12
    k = seeds * lost  # examples on which the sides differ, each by 1 / seeds
    variance = (k / seeds**2 / 300 - row.difference**2) / 299
    assert row.p == pytest.approx(2 * stats.t.sf(abs(row.difference) / variance**0.5, k - 1), rel=1e-4)
    if k < 5:
        assert row.verdict == "no detectable difference"


def test_seeds_that_agree_on_few_examples_prove_little() -> None:
    """Three seeds that all get the same four additional examples right: that is four examples, not twelve."""
    correct = np.zeros((6, 300))
    correct[3:, :4] = 1
    found = difference(scored("sst", "accuracy", runs(6), np.ones(300), correct), runs(6)[:3], runs(6)[3:], True)
    assert found.p > 0.1
    assert found.verdict == "no detectable difference"


def test_groups_are_paired_by_seed_where_both_have_the_same_ones() -> None:
    def of(seeds: tuple[int, ...]) -> list:
        return [record(seed=seed, shift=0.01 * seed) for seed in seeds]

    def paired(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[bool, tuple[int, int]]:
        row = compare([of(a), of(b)]).against[0].metrics[0]
        return row.paired, row.runs

    assert paired((0, 1, 2), (2, 0, 1)) == (True, (3, 3))
    assert paired((0, 1, 2), (0, 1)) == (False, (3, 2))
    assert paired((0, 1), (2, 3)) == (False, (2, 2))
    assert paired((0,), (0,)) == (False, (1, 1))


def test_a_groups_value_is_the_mean_over_its_runs() -> None:
    result = compare([[record(seed=n, shift=0.1 * n) for n in range(3)], [record(seed=n) for n in range(3)]])
    (row,) = [row for row in result.against[0].metrics if row.name == "sts"]
    singles = [compare([record(), record(shift=0.1 * n)]).against[0].metrics for n in range(3)]
    ours = [next(each.values[1] for each in rows if each.name == "sts") for rows in singles]
    assert row.values[0] == pytest.approx(np.mean(ours))
    assert [len(one.records) for one in result.groups] == [3, 3]
    assert result.metrics == (*TASKS, "dev_avg")


def test_an_examples_influence_is_what_leaving_it_out_moves() -> None:
    found = made("pearson", 2, n=300)
    assert np.mean(found.influence, axis=1) == pytest.approx(0, abs=1e-12)
    assert (found.influence**2).mean(axis=1) / 300 == pytest.approx(np.diag(found.covariance), rel=0.1)


def test_few_far_off_examples_leave_the_noise_of_a_correlation_less_known() -> None:
    rng = np.random.default_rng(8)
    y, off = rng.normal(size=400), np.zeros(400)
    off[:4] = 12
    near = np.stack([y + rng.normal(size=400), y + rng.normal(size=400)])
    far = near + np.stack([off, 0 * off])
    tame, wild = (
        variance_components_of(scored("sts", "pearson", runs(2), y, rows), [0], [1], paired=False).examples_df
        for rows in (near, far)
    )
    assert 100 < tame <= 399
    assert 2 < wild < 20
