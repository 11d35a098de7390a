"""The simulation of coverage: its truths are true, and what it counts is near what it should be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.coverage import Setting, drawn, false_alarms, line, measure, settings, true_difference

SETTING = Setting("accuracy", (3, 3), True, 400, 0.2, 0.2)


@pytest.mark.parametrize("metric", ["accuracy", "pearson"])
def test_the_true_difference_is_the_mean_of_what_is_seen(metric: str) -> None:
    setting, rng, seen = replace(SETTING, metric=metric, examples=150), np.random.default_rng(1), []
    for _ in range(120):
        values = drawn(setting, rng).values
        seen.append(values[3:].mean() - values[:3].mean())
    assert np.mean(seen) == pytest.approx(true_difference(setting), abs=4 * np.std(seen) / len(seen) ** 0.5)
    assert true_difference(replace(setting, gain=0.0)) == 0


@pytest.mark.parametrize("runs", [(3, 3), (5, 5)])
@pytest.mark.parametrize("paired", [True, False])
def test_an_interval_covers_the_truth_about_as_often_as_it_says(runs: tuple[int, int], paired: bool) -> None:
    """A hundred trials: a right interval lies outside of these bounds once in a thousand."""
    found = measure(replace(SETTING, runs=runs, paired=paired), 100)
    assert found.covered >= 0.87


def test_two_like_groups_are_seldom_called_different() -> None:
    assert false_alarms(3, 0.1, 30) <= 0.15


def test_every_setting_has_a_line() -> None:
    assert len(list(settings())) == 36
    found = measure(replace(SETTING, gain=0.0, examples=100), 3)
    assert "3+3  paired" in line(found)
    assert line(replace(found, setting=SETTING)).rstrip().endswith("–")
