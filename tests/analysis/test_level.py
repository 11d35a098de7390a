"""A group's own score with its interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from peftbench.analysis.stats.bootstrap import ScoreSample
from peftbench.analysis.stats.estimate import level


def sample(values: list[float], covariance: np.ndarray) -> ScoreSample:
    runs = tuple(f"r{n}" for n in range(len(values)))
    return ScoreSample("sst", "accuracy", 400, runs, np.asarray(values), covariance)


def test_without_noise_of_examples_it_is_students_interval_over_the_seeds() -> None:
    values = [0.70, 0.74, 0.71]
    found = level(sample(values, np.zeros((3, 3))), ["r0", "r1", "r2"])
    theirs = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(theirs)


def test_of_one_run_it_is_the_interval_over_examples() -> None:
    found = level(sample([0.7, 0.9], np.diag([0.7 * 0.3 / 400, 1.0])), ["r0"])
    assert found.high - found.value == pytest.approx(1.959964 * (0.21 / 400) ** 0.5)


def test_what_seeds_share_through_the_examples_does_not_average_out() -> None:
    shared = np.full((3, 3), 0.0004)
    found = level(sample([0.7, 0.7, 0.7], shared), ["r0", "r1", "r2"])
    assert found.high - found.value == pytest.approx(1.959964 * 0.02)


def test_seeds_that_agree_by_chance_have_an_interval() -> None:
    found = level(sample([0.7, 0.7, 0.7], np.diag([0.0009] * 3)), ["r0", "r1", "r2"])
    assert found.high - found.value == pytest.approx(1.959964 * (0.0009 / 3) ** 0.5)


def test_a_run_that_is_not_in_the_sample_has_no_level() -> None:
    assert level(sample([0.7], np.zeros((1, 1))), ["r0", "r9"]) is None
