"""Positions of epochs on each axis, curves of a metric, and the gap between train and dev."""

from __future__ import annotations

from dataclasses import replace

import pytest

from peftbench.analysis.cost import reach
from peftbench.analysis.trajectory import AVERAGE, best_gap, curve, gaps, positions
from peftbench.store.rows import Phase, RunRecord, Score
from tests.factories import on_a_card, record
from tests.tiny import TASKS


def steps(epoch: int, count: int, phase: str = "train") -> Phase:
    return Phase(phase, epoch, "sst", None, 1.0, steps=count)


def test_steps_add_up_over_epochs_with_the_warm_up() -> None:
    found = replace(record(epochs=3), phases=(steps(1, 10, "warmup"), steps(1, 80), steps(2, 90), steps(3, 90)))
    assert positions(found, "step") == {1: 90.0, 2: 180.0, 3: 270.0}
    assert positions(found, "epoch") == {1: 1.0, 2: 2.0, 3: 3.0}


def test_time_and_energy_are_those_of_reach() -> None:
    found = on_a_card()
    first = found.epochs[0]
    assert first.dev_avg is not None
    told = reach(found, first.dev_avg)
    assert told is not None
    assert told.energy_j is not None
    assert positions(found, "time")[first.epoch] == told.seconds
    assert positions(found, "energy")[first.epoch] == told.energy_j


def test_what_is_not_known_is_left_out() -> None:
    found = record(epochs=2)  # its phases have no usage
    assert positions(replace(found, phases=()), "energy") == {}
    assert positions(replace(found, phases=()), "time") == {}


def test_a_curve_follows_the_positions_and_keeps_gaps() -> None:
    found = record(epochs=3)
    scores = tuple(
        replace(score, value=None) if (score.task, score.split, score.epoch) == ("sst", "dev", 2) else score
        for score in found.scores
    )
    xs, ys = curve(replace(found, scores=scores), "sst", "dev", {1: 10.0, 2: 20.0, 3: 30.0})
    assert xs == [10.0, 20.0, 30.0]
    assert ys[1] is None
    assert ys[0] is not None


def scored(train: dict[str, float | None], dev: float | None) -> RunRecord:
    found = record(epochs=1)
    scores = [Score(1, task, "train", "accuracy", value, None, 0.1, 9) for task, value in train.items()]
    scores += [Score(1, task, "dev", "accuracy", dev, None, 0.1, 9) for task in TASKS]
    return replace(found, scores=tuple(scores), epochs=(replace(found.epochs[0], dev_avg=dev),))


def test_the_gap_is_train_less_dev_of_the_plain_means() -> None:
    found = scored({"sst": 0.9, "paraphrase": 0.8, "sts": 0.7}, 0.75)
    assert best_gap(found) == pytest.approx(0.05)
    assert gaps(found) == {1: pytest.approx(0.05)}
    assert curve(found, AVERAGE, "train", {1: 1.0}) == ([1.0], [pytest.approx(0.8)])


@pytest.mark.parametrize(
    ("train", "dev"),
    [({"sst": 0.9, "paraphrase": None, "sts": 0.7}, 0.5), ({"sst": 0.9}, 0.5), (dict.fromkeys(TASKS, 0.9), None)],
)
def test_no_gap_where_one_of_its_scores_is_missing(train: dict[str, float | None], dev: float | None) -> None:
    assert best_gap(scored(train, dev)) is None


def test_no_gap_before_the_first_epoch() -> None:
    found = record(epochs=1)
    assert best_gap(replace(found, run=replace(found.run, best_epoch=None))) is None
