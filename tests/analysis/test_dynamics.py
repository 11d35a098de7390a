"""Training dynamics and spending: what a group's epochs and costs come to, and what is called noise."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy import stats

from peftbench.analysis.dynamics import dynamics
from peftbench.analysis.groups import Spread, group, spread
from peftbench.analysis.spending import cost_difference, p_of_means, spending
from peftbench.store.rows import Epoch, Phase, RunRecord, Score
from tests.analysis.test_comparison import TASKS, record
from tests.analysis.test_resources_and_quality import on_a_card


def trained(train: list[float], dev: list[float], seed: int = 0, best: int = 2) -> RunRecord:
    """Return a run whose tasks all have these scores, epoch by epoch."""
    scores = [
        Score(n, task, split, "accuracy", value, None, 0.1, 300)
        for split, values in (("train", train), ("dev", dev))
        for n, value in enumerate(values, start=1)
        for task in TASKS
    ]
    epochs = tuple(Epoch(n, value, value, None, "t") for n, value in enumerate(dev, start=1))
    return replace(record(seed=seed, best_epoch=best), scores=tuple(scores), epochs=epochs)


def test_epochs_gaps_and_growth_are_those_of_the_curves() -> None:
    found = dynamics(group("x", [trained([0.6, 0.8, 0.9], [0.5, 0.7, 0.69])]))
    assert (found.best_epochs, found.to_nearly.mean) == ((2,), 2.0)
    gaps = (found.gap_first.mean, found.gap_best.mean, found.gap_last.mean)
    assert gaps == pytest.approx((0.1, 0.1, 0.21))
    assert found.grew.mean == pytest.approx(0.11)
    assert found.grows


def test_epochs_to_nearly_the_best_are_the_first_at_95_percent() -> None:
    assert dynamics(group("x", [trained([0.5] * 4, [0.5, 0.66, 0.7, 0.69], best=3)])).to_nearly.mean == 3.0
    assert dynamics(group("x", [trained([0.5] * 4, [0.5, 0.67, 0.7, 0.69], best=3)])).to_nearly.mean == 2.0
    assert dynamics(group("x", [trained([0.5], [-0.1], best=1)])).to_nearly is None


def test_a_gap_that_grows_within_the_spread_of_the_seeds_is_not_flagged() -> None:
    steady = [trained([0.6, 0.7 + shift], [0.5, 0.5], seed) for seed, shift in enumerate((0.0, 0.01, 0.02))]
    unsteady = [trained([0.6, 0.7 + shift], [0.5, 0.5], seed) for seed, shift in enumerate((-0.2, 0.0, 0.3))]
    assert dynamics(group("x", steady)).grows
    assert not dynamics(group("x", unsteady)).grows
    assert dynamics(group("x", unsteady)).grew.mean > 0.1


def test_a_small_growth_and_a_single_epoch_are_no_growth() -> None:
    assert not dynamics(group("x", [trained([0.6, 0.61], [0.5, 0.5])])).grows
    assert dynamics(group("x", [trained([0.6], [0.5], best=1)])).grew is None


def test_what_one_of_the_runs_lacks_the_group_lacks() -> None:
    whole, without = trained([0.6, 0.7], [0.5, 0.5]), trained([0.6, 0.7], [0.5, 0.5], seed=1)
    without = replace(without, scores=tuple(s for s in without.scores if s.split == "dev"))
    assert dynamics(group("x", [whole, without])).gap_best is None


def test_a_spread_is_mean_sd_and_n() -> None:
    assert spread([1.0, 2.0, 4.0]) == Spread(pytest.approx(7 / 3), pytest.approx(1.5275252), 3)
    assert spread([5.0]) == Spread(5.0, None, 1)
    assert spread([]) is spread([1.0, None]) is None


def timed(seconds: float, seed: int) -> RunRecord:
    return record(seed=seed, phases=(Phase("train", 1, "sst", None, seconds, 10, 80, 800, peak_rss_mib=900.0),))


def test_a_difference_of_cost_is_welchs_test_over_the_runs() -> None:
    a, b = [10.0, 11.0, 10.5], [12.0, 13.5]
    sides = [spending(group("x", [timed(s, seed) for seed, s in enumerate(values)])) for values in (a, b)]
    found = cost_difference("train_s", *sides)
    assert found.ratio == pytest.approx(12.75 / 10.5 - 1)
    assert found.p == pytest.approx(stats.ttest_ind(b, a, equal_var=False).pvalue)
    assert cost_difference("peak_rss_mib", *sides).p == 1.0
    assert cost_difference("vram_mib", *sides) is None


def test_one_run_each_has_no_p_value() -> None:
    assert p_of_means(Spread(1.0, None, 1), Spread(2.0, 0.1, 3)) is None


def test_memory_that_was_read_in_two_ways_is_not_compared() -> None:
    ours = spending(group("x", [on_a_card()]))
    theirs = spending(group("y", [on_a_card(train={"process_vram_mib": None, "device_delta_mib": 900.0})]))
    assert cost_difference("vram_mib", ours, ours).ratio == 0.0
    assert theirs.figures["vram_mib"] is not None
    assert cost_difference("vram_mib", ours, theirs) is None
