"""The front: which groups nothing dominates, and how sure that is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench.analysis.groups import Group, group
from peftbench.analysis.pareto import _dominated, pareto
from peftbench.store.rows import Prediction, RunRecord
from tests.analysis.test_comparison import record

RNG = np.random.default_rng(2)
HARD = RNG.normal(size=400)


def of(accuracy: float, weights: int, seed: int = 0, name: str = "x") -> RunRecord:
    """Return a run that gets about so much of the first task right."""
    correct = HARD + 0.5 * np.random.default_rng([seed, *name.encode()]).normal(size=400)
    hits = correct > np.quantile(correct, 1 - accuracy)
    rows = tuple(Prediction("sst", 2, str(n), 1.0, float(hit)) for n, hit in enumerate(hits))
    return record(seed=seed, weights_trainable=weights, predictions={"sst": rows})


def named(label: str, accuracy: float, weights: int, seeds: int = 1) -> Group:
    return group(label, [of(accuracy, weights, seed, label) for seed in range(seeds)])


def test_the_front_is_ordered_by_cost_and_names_who_dominates() -> None:
    front = pareto([named("dear", 0.8, 30), named("cheap", 0.6, 10), named("silly", 0.5, 20)], "weights", "sst")
    assert [point.group.label for point in front.points] == ["cheap", "silly", "dear"]
    assert [point.dominated_by for point in front.points] == [(), ("cheap",), ()]
    assert [point.stays for point in front.points] == [1.0, pytest.approx(0.0, abs=0.01), pytest.approx(1.0, abs=0.01)]
    assert front.without_seeds == ("cheap", "silly", "dear")


def test_a_close_call_is_not_sure() -> None:
    front = pareto([named("cheap", 0.60, 10), named("dear", 0.605, 20)], "weights", "sst")
    assert 0.2 < front.points[1].stays < 0.9
    assert front.points[0].stays == 1.0


def test_seeds_that_spread_make_it_less_sure() -> None:
    steady = [named("cheap", 0.60, 10, 3), named("dear", 0.66, 20, 3)]
    unsteady = [steady[0], group("dear", [of(0.66 + off, 20, seed, "dear") for seed, off in enumerate((-0.2, 0, 0.2))])]
    sure, unsure = (pareto(groups, "weights", "sst").points[1].stays for groups in (steady, unsteady))
    assert sure > 0.95 > 0.85 > unsure > 0.4


def test_what_was_not_measured_or_scored_elsewhere_is_left_out_with_its_reason() -> None:
    elsewhere = group("elsewhere", [record(weights_trainable=5, predictions={"sst": ()})])
    unknown = group("unknown", [record(weights_trainable=None)])
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
    assert not found.any(axis=1).all()  # something is always left
