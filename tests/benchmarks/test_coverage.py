"""The coverage simulation: its true values are right, and its counts are close to the expected ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import selection
from benchmarks.coverage import Setting, drawn, false_alarms, line, means, measure, settings, true_difference
from tests.marks import soaked_but

SETTING = Setting("accuracy", (3, 3), True, 400, 0.2, 0.2)


@pytest.mark.parametrize("metric", ["accuracy", "pearson"])
def test_the_true_difference_is_the_mean_of_what_is_seen(metric: str) -> None:
    setting, rng, seen = replace(SETTING, metric=metric, examples=150), np.random.default_rng(1), []
    for _ in range(120):
        values = drawn(setting, rng).values
        seen.append(values[3:].mean() - values[:3].mean())
    assert np.mean(seen) == pytest.approx(true_difference(setting), abs=4 * np.std(seen) / len(seen) ** 0.5)
    assert true_difference(replace(setting, gain=0.0)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "paired"), soaked_but([((3, 3), True)], [((3, 3), True), ((3, 3), False), ((5, 5), True), ((5, 5), False)])
)
def test_an_interval_has_about_its_nominal_coverage(runs: tuple[int, int], paired: bool) -> None:
    """A hundred trials: a correct interval is outside these bounds once in a thousand."""
    found = measure(replace(SETTING, runs=runs, paired=paired), 100)
    assert found.covered >= 0.87


@pytest.mark.parametrize(
    "changed",
    [
        {"other": 0.6, "runs": (2, 3), "paired": False},
        {"own": 0.2},
        {"far_off": 0.05, "metric": "pearson"},
        {"own": 0.3, "other": 0.0, "paired": False},
    ],
)
def test_the_truth_of_unlike_groups_is_the_mean_of_what_is_seen(changed: dict[str, object]) -> None:
    setting, rng, seen = replace(SETTING, examples=300, **changed), np.random.default_rng(2), []
    first = setting.runs[0]
    for _ in range(150):
        values = drawn(setting, rng).values
        seen.append(values[first:].mean() - values[:first].mean())
    assert np.mean(seen) == pytest.approx(true_difference(setting), abs=4 * np.std(seen) / len(seen) ** 0.5 + 0.004)


def test_one_run_on_a_side_is_refused_by_name() -> None:
    found = measure(replace(SETTING, runs=(3, 1), paired=False, gain=0.0, other=0.6), 5)
    assert found.refused == 1
    assert "no verdict over seeds in 100%: one run on a side" in line(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "spreads"),
    [
        ((2, 10), (0.4, 0.1)),
        *(pytest.param(*each, marks=pytest.mark.soak) for each in (((5, 2), (0.1, 0.4)), ((3, 10), (0.4, 0.1)))),
    ],
)
def test_fewer_and_unsteadier_runs_are_seldom_called_different(
    runs: tuple[int, int], spreads: tuple[float, float]
) -> None:
    """With Welch's degrees of freedom it was one in nine; a correct share exceeds this bound once in a thousand."""
    setting = Setting("accuracy", runs, False, 300, spreads[0], 0.0, spreads[1])
    assert measure(setting, 150).different <= 0.12


@pytest.mark.slow
@pytest.mark.parametrize(("runs", "own"), [((2, 2), 0.1), ((3, 3), 0.01)])
def test_runs_that_answer_nearly_alike_are_seldom_called_different(runs: tuple[int, int], own: float) -> None:
    found = measure(Setting("accuracy", runs, True, 300, 0.0, 0.0, own=own), 150)
    assert found.coincide > 0.02
    assert found.different <= 0.12


@pytest.mark.slow
def test_two_like_groups_are_seldom_called_different() -> None:
    assert false_alarms(3, 0.1, 30) <= 0.15


def test_means_of_unlike_sides_are_covered(capsys: pytest.CaptureFixture[str]) -> None:
    found = means(60)
    assert len(found) == 40 and min(found.values()) > 0.8
    assert len(capsys.readouterr().out.splitlines()) == 9


def test_every_setting_has_a_line() -> None:
    assert len(list(settings())) == 36
    found = measure(replace(SETTING, gain=0.0, examples=100), 3)
    assert "3+3  paired" in line(found)
    assert line(replace(found, setting=SETTING)).rstrip().endswith("–")


def test_choosing_on_the_reported_examples_is_biased_and_on_others_is_not() -> None:
    """One epoch against ten that are alike: the best of ten is 1.5 standard deviations too high on dev."""
    case = selection.Case("accuracy", 2, (selection.Candidates(1, 1), selection.Candidates(1, 10)))
    tallies = selection.measure(case, 40)
    assert tallies["dev"].error > 0.008
    assert abs(tallies["test"].error) < 0.006
    assert abs(tallies["half"].error) < 0.008
    assert tallies["dev"].covered < tallies["test"].covered


def test_the_true_score_of_a_setting_is_the_mean_of_what_is_seen() -> None:
    rng = np.random.default_rng(3)
    case = selection.Case("pearson", 40, (selection.Candidates(1, 1),) * 2, between=0.1)
    seen = []
    for _ in range(10):
        hardness, labels = rng.normal(size=1000), rng.normal(size=1000)
        outputs, truth = selection._chosen(case, case.sides[0], hardness, labels, 500, rng)
        seen.append(selection._score("pearson", outputs, labels[500:]).mean() - truth)
    assert np.mean(seen) == pytest.approx(0.0, abs=4 * np.std(seen) / len(seen) ** 0.5)
