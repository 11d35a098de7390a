"""The Pareto front: which groups are not dominated, and how certain that is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench.analysis.groups import group_of
from peftbench.analysis.pareto import _dominated, moved_scores, pareto
from peftbench.analysis.stats.bootstrap import scored
from tests.factories import comparable_record as record
from tests.factories import scored_group as named
from tests.factories import scored_run as of


def test_the_front_is_ordered_by_cost_and_names_who_dominates() -> None:
    front = pareto([named("dear", 0.8, 30), named("cheap", 0.6, 10), named("silly", 0.5, 20)], "weights", "sst")
    assert [point.group.label for point in front.points] == ["cheap", "silly", "dear"]
    assert [point.dominated_by for point in front.points] == [(), ("cheap",), ()]
    assert [point.stays for point in front.points] == [1.0, pytest.approx(0.0, abs=0.01), pytest.approx(1.0, abs=0.01)]
    assert front.without_seeds == ("cheap", "silly", "dear")


def test_a_close_call_is_uncertain() -> None:
    front = pareto([named("cheap", 0.60, 10), named("dear", 0.605, 20)], "weights", "sst")
    assert 0.2 < front.points[1].stays < 0.9
    assert front.points[0].stays == 1.0


def test_seeds_that_spread_make_it_less_sure() -> None:
    steady = [named("cheap", 0.60, 10, 3), named("dear", 0.66, 20, 3)]
    unsteady = [
        steady[0],
        group_of("dear", [of(0.66 + off, 20, seed, "dear") for seed, off in enumerate((-0.2, 0, 0.2))]),
    ]
    sure, unsure = (pareto(groups, "weights", "sst").points[1].stays for groups in (steady, unsteady))
    assert sure > 0.95 > 0.85 > unsure > 0.4


@pytest.mark.parametrize("sd", [0.0, 0.2])
def test_means_move_by_seeds_and_examples_once(sd: float) -> None:
    """Over many draws of the same population: the variance of a mean, with the runs' own noise counted once."""
    rng, seen, moved = np.random.default_rng(5), [], []
    for _ in range(60):
        hard, seeds = rng.normal(size=150), sd * rng.normal(size=12)
        correct = (hard + seeds[:, None] + 2 * rng.normal(size=(12, 150)) + 0.4 > 0).astype(float)
        made = scored("sst", "accuracy", tuple(map(str, range(12))), np.ones(150), correct)
        seen.append(float(made.values.mean()))
        moved.append(float(np.var(moved_scores(made, [list(range(12))], rng))))
    heavier = 11 / 9  # the variance of t with 11 degrees of freedom, for the seeds' part only
    assert np.var(seen) * 0.6 < np.mean(moved) < np.var(seen) * heavier * 1.6


def test_without_a_spread_of_seeds_the_examples_alone_move_a_mean() -> None:
    """Twelve runs with independent answers: added to the resampled examples, their spread would count twice."""
    rng, twice = np.random.default_rng(6), []
    for _ in range(40):
        correct = (rng.random((12, 200)) < 0.6).astype(float)
        made = scored("sst", "accuracy", tuple(map(str, range(12))), np.ones(200), correct)
        twice.append(float(np.var(moved_scores(made, [list(range(12))], rng))) / (0.24 / 200 / 12))
    assert np.mean(twice) < 1.4  # 2.2 before


def test_what_was_not_measured_or_scored_elsewhere_is_left_out_with_its_reason() -> None:
    elsewhere = group_of("elsewhere", [record(weights_trainable=5, predictions={"sst": ()})])
    unknown = group_of("unknown", [record(weights_trainable=None)])
    front = pareto([named("a", 0.6, 10), named("b", 0.7, 20), elsewhere, unknown], "weights", "sst")
    assert dict(front.left_out) == {
        "elsewhere": "not the same dev examples",
        "unknown": "trained weights: not measured",
    }
    assert pareto([named("a", 0.6, 10)], "vram", "sst").points == ()


POINTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=7)


@given(POINTS)
def test_domination_is_its_definition(points: list[tuple[int, int]]) -> None:
    x, y = (np.asarray([values]) for values in zip(*points, strict=True))
    found = _dominated(x, y)[0]
    for i, (own_x, own_y) in enumerate(points):
        for j, (other_x, other_y) in enumerate(points):
            worse = other_x <= own_x and other_y >= own_y and (other_x, other_y) != (own_x, own_y)
            assert found[i, j] == worse
    assert not found.any(axis=1).all()  # at least one is never dominated
