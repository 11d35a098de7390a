"""Training dynamics and cost of a group, and which differences are within noise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from peftbench.analysis.cost_comparison import cost_difference, group_cost, p_of_means
from peftbench.analysis.dynamics import dynamics
from peftbench.analysis.groups import Spread, group_of, spread
from peftbench.store.rows import Epoch, Phase, RunRecord, Score
from tests.factories import comparable_record as record
from tests.factories import on_a_card
from tests.tiny import TASKS


def trained(train: list[float], dev: list[float], seed: int = 0, best: int = 2) -> RunRecord:
    """Return a run whose tasks all have the given scores, by epoch."""
    scores = [
        Score(n, task, split, "accuracy", value, None, 0.1, 300)
        for split, values in (("train", train), ("dev", dev))
        for n, value in enumerate(values, start=1)
        for task in TASKS
    ]
    epochs = tuple(Epoch(n, value, value, None, "t") for n, value in enumerate(dev, start=1))
    return replace(record(seed=seed, best_epoch=best), scores=tuple(scores), epochs=epochs)


def test_epochs_gaps_and_growth_are_those_of_the_curves() -> None:
    found = dynamics(group_of("x", [trained([0.6, 0.8, 0.9], [0.5, 0.7, 0.69])]))
    assert (found.best_epochs, found.to_nearly.mean) == ((2,), 2.0)
    gaps = (found.gap_first.mean, found.gap_best.mean, found.gap_last.mean)
    assert gaps == pytest.approx((0.1, 0.1, 0.21))
    assert found.grew.mean == pytest.approx(0.11)
    assert found.grows


def test_epochs_to_nearly_the_best_are_the_first_at_95_percent() -> None:
    assert dynamics(group_of("x", [trained([0.5] * 4, [0.5, 0.66, 0.7, 0.69], best=3)])).to_nearly.mean == 3.0
    assert dynamics(group_of("x", [trained([0.5] * 4, [0.5, 0.67, 0.7, 0.69], best=3)])).to_nearly.mean == 2.0
    assert dynamics(group_of("x", [trained([0.5], [-0.1], best=1)])).to_nearly is None


def test_a_gap_that_grows_within_the_spread_of_the_seeds_is_not_flagged() -> None:
    steady = [trained([0.6, 0.7 + shift], [0.5, 0.5], seed) for seed, shift in enumerate((0.0, 0.01, 0.02))]
    unsteady = [trained([0.6, 0.7 + shift], [0.5, 0.5], seed) for seed, shift in enumerate((-0.2, 0.0, 0.3))]
    assert dynamics(group_of("x", steady)).grows
    assert not dynamics(group_of("x", unsteady)).grows
    assert dynamics(group_of("x", unsteady)).grew.mean > 0.1


def test_a_small_growth_and_a_single_epoch_are_no_growth() -> None:
    assert not dynamics(group_of("x", [trained([0.6, 0.61], [0.5, 0.5])])).grows
    assert dynamics(group_of("x", [trained([0.6], [0.5], best=1)])).grew is None


def test_what_one_of_the_runs_lacks_the_group_lacks() -> None:
    whole, without = trained([0.6, 0.7], [0.5, 0.5]), trained([0.6, 0.7], [0.5, 0.5], seed=1)
    without = replace(without, scores=tuple(s for s in without.scores if s.split == "dev"))
    assert dynamics(group_of("x", [whole, without])).gap_best is None


def test_a_spread_is_mean_sd_and_n() -> None:
    assert spread([1.0, 2.0, 4.0]) == Spread(pytest.approx(7 / 3), pytest.approx(1.5275252), 3)
    assert spread([5.0]) == Spread(5.0, None, 1)
    assert spread([]) is spread([1.0, None]) is None


def timed(seconds: float, seed: int) -> RunRecord:
    return record(seed=seed, phases=(Phase("train", 1, "sst", None, seconds, 10, 80, 800, peak_rss_mib=900.0),))


def test_a_difference_of_cost_is_a_t_test_over_the_runs() -> None:
    a, b = [10.0, 11.0, 10.5], [12.0, 13.5]
    sides = [group_cost(group_of("x", [timed(s, seed) for seed, s in enumerate(values)])) for values in (a, b)]
    found = cost_difference("train_s", *sides)
    assert found.ratio == pytest.approx(12.75 / 10.5 - 1)
    parts = [np.var(values, ddof=1) / len(values) for values in (a, b)]

    def half_width(p: float) -> float:
        t = stats.t.ppf(1 - p / 2, [2, 1, 3])  # of a alone, b alone, both
        weighed = t[0] ** 2 * parts[0] ** 2 + t[1] ** 2 * parts[1] ** 2 + 2 * t[2] ** 2 * parts[0] * parts[1]
        welch = stats.t.ppf(1 - p / 2, sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 1)) ** 2
        unlike = (1 - (1 / 2) ** 2) ** 4
        return math.sqrt(unlike * weighed / sum(parts) + (1 - unlike) * welch * sum(parts))

    assert half_width(found.p) == pytest.approx(12.75 - 10.5, rel=1e-6)
    assert found.p > stats.ttest_ind(b, a, equal_var=False).pvalue
    assert cost_difference("peak_rss_mib", *sides).p == 1.0
    assert cost_difference("vram_mib", *sides) is None


def test_one_run_each_has_no_p_value() -> None:
    assert p_of_means(Spread(1.0, None, 1), Spread(2.0, 0.1, 3)) is None


def test_memory_that_was_read_in_two_ways_is_not_compared() -> None:
    ours = group_cost(group_of("x", [on_a_card()]))
    theirs = group_cost(group_of("y", [on_a_card(train={"process_vram_mib": None, "device_delta_mib": 900.0})]))
    assert cost_difference("vram_mib", ours, ours).ratio == 0.0
    assert theirs.figures["vram_mib"] is not None
    assert cost_difference("vram_mib", ours, theirs) is None
