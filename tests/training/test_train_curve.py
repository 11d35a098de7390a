"""The training curve: what a point is of, how points are joined when there are many, and what is reported when."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from peftbench.data.standardise import AS_IT_IS
from peftbench.errors import TrainingError
from peftbench.spec import Resolved, resolve
from peftbench.store.rows import TrainPoint
from peftbench.training import train_curve
from peftbench.training.metrics import score
from peftbench.training.stepper import StepResult
from peftbench.training.train_curve import TrainCurve, steps_a_point
from tests.models import texts
from tests.recorders import Memory, train
from tests.steppers import batches, stepping

SPEC = resolve("lora-r12").spec
STS = next(task for task in SPEC.tasks if task.name == "sts")
SPLIT = texts([4] * 8)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def curve(total: int, memory: Memory, clock: Clock | None = None) -> TrainCurve:
    return TrainCurve(SPEC, total, lambda: "0.1", memory, clock or Clock())


def result(loss: float, logits: list[float], norm: float | None = None) -> StepResult:
    own = torch.tensor(logits)[:, None]
    return StepResult(torch.tensor(loss), [own], 0.25, None if norm is None else torch.tensor(norm))


def add(to: TrainCurve, step: int, loss: float = 1.0, *, rows: tuple[int, ...] = (0, 1), last: bool = False) -> None:
    logits = [float(row) for row in rows]
    done = result(loss, logits, 3.0 if to.wants_norm(last) else None)
    to.add((step, 1), STS, SPLIT, AS_IT_IS, [np.array(rows)], done, last=last)


@pytest.mark.parametrize(("total", "steps"), [(1, 1), (999, 1), (1000, 2), (9_999, 19), (10_000, 20), (10**7, 20)])
def test_a_long_run_has_more_steps_a_point(total: int, steps: int) -> None:
    assert steps_a_point(total) == steps


def test_a_point_is_the_mean_of_its_steps_with_rate_norm_metric_and_time() -> None:
    memory, clock = Memory(), Clock()
    made = curve(2000, memory, clock)
    with made.timed():
        for step, loss in enumerate((1.0, 2.0, 3.0), start=1):
            clock.now += 0.5
            add(made, step, loss, rows=(step, step + 1))
        clock.now += 7  # a part of the fourth step's time
    clock.now += 100  # an evaluation
    with made.timed():
        clock.now += 0.5
        add(made, 4, 4.0, rows=(6, 7))
    rows = np.array([1, 2, 2, 3, 3, 4, 6, 7])
    expected = score(STS, rows.astype(float), SPLIT.labels[rows]).value
    assert made.points == [TrainPoint(4, 1, "sts", 4, 2.5, expected, 0.25, None, 9.0)]


def test_the_norm_is_wanted_every_ten_steps_at_most_and_at_the_end_of_a_task() -> None:
    made = curve(10, Memory())
    wanted = []
    for step in range(1, 25):
        wanted.append(made.wants_norm(step == 24))
        add(made, step, last=step == 24)
    assert [step for step, each in enumerate(wanted, start=1) if each] == [10, 20, 24]
    assert [point.step for point in made.points if point.grad_norm == 3.0] == [10, 20, 24]


def test_a_task_s_last_point_is_shorter_and_the_next_task_s_metric_is_its_own() -> None:
    made = curve(2000, Memory())
    for step in range(1, 7):
        add(made, step, rows=(2, 7), last=step == 6)
    assert [(point.step, point.steps) for point in made.points] == [(4, 4), (6, 2)]
    made.begin_task()
    for step in range(7, 11):
        add(made, step, rows=(0, 1, 2))
    rows = np.tile([0, 1, 2], 4)
    assert made.points[-1].metric == score(STS, rows.astype(float), SPLIT.labels[rows]).value


def test_a_loss_that_is_no_number_ends_the_run_with_the_points_before_it_reported() -> None:
    memory = Memory()
    made = curve(10, memory)
    add(made, 1)
    with pytest.raises(TrainingError, match="the loss of task sts is nan at step 2"):
        add(made, 2, math.nan)
    assert list(memory.points) == [1]


def test_points_are_reported_once_a_second_or_when_asked() -> None:
    memory, clock = Memory(), Clock()
    made = curve(10, memory, clock)
    for step in range(1, 4):
        add(made, step)
        made.report()
    assert list(memory.points) == [1]
    clock.now += 1
    made.report()
    assert list(memory.points) == [1, 2, 3]
    add(made, 4)
    made.report(now=True)
    assert list(memory.points) == [1, 2, 3, 4]


def test_many_points_are_joined_in_pairs_but_for_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_curve, "MOST_POINTS", 40)
    monkeypatch.setattr(train_curve, "NEWEST", 10)
    memory = Memory()
    made = curve(10, memory)
    for step in range(1, 501):
        add(made, step, float(step))
        made.report(now=True)
        assert len(made.points) <= 40
    assert list(memory.points.values()) == made.points
    assert sum(point.steps for point in made.points) == 500
    assert sum(point.steps * point.loss for point in made.points) == pytest.approx(sum(range(501)))
    assert [point.steps for point in made.points[-10:]] == [1] * 10
    assert [point.step for point in made.points] == sorted(point.step for point in made.points)


def test_points_of_two_tasks_are_not_joined() -> None:
    points = [TrainPoint(step, 1, "ab"[step % 2], 1, step, float(step), 0.1, None, 2.0) for step in range(1, 8)]
    joined = train_curve._in_pairs(points)
    assert joined == [
        TrainPoint(3, 1, "b", 2, 2.0, 2.0, 0.1, None, 4.0),
        TrainPoint(4, 1, "a", 2, 3.0, 3.0, 0.1, None, 4.0),
        points[5],
        TrainPoint(7, 1, "b", 2, 6.0, 6.0, 0.1, None, 4.0),
    ]


def test_a_checkpoint_of_before_has_the_points_of_its_task_only() -> None:
    memory = Memory()
    made = curve(2000, memory)
    state = {"points": [(20, 3, "sts", 20, 0.5)], "sum": torch.tensor(2.0), "steps": 3, "of_task_only": True}
    memory.points[7] = TrainPoint(7, 1, "sts", 7, 1.0)
    made.load_state(state, torch.device("cpu"))
    add(made, 24, 2.0)
    made.report(now=True)
    assert [(point.step, point.loss) for point in memory.points.values()] == [(7, 1.0), (20, 0.5), (24, 1.0)]


@pytest.mark.parametrize("preset", ["full", "lora-r12"])
def test_the_norm_is_that_of_all_gradients(preset: str, tiny: Callable[..., Resolved]) -> None:
    spec = tiny(preset).spec
    clipped = spec.model_copy(update={"train": spec.train.model_copy(update={"clip_norm": 1e9})})
    norms = []
    for each, wanted in ((spec, True), (spec, False), (clipped, False)):
        of = stepping(each)
        of.model.switch_mode("sst")
        torch.manual_seed(1)
        norms.append(of.step(spec.tasks[0], batches(of, [[0, 1, 2]]), norm=wanted).grad_norm)
        gradients = [weight.grad for weight in of.model.trainable().values() if weight.grad is not None]
        expected = torch.linalg.vector_norm(torch.cat([grad.flatten() for grad in gradients]))
        assert norms[-1] is None or torch.allclose(norms[-1], expected)
    assert norms[1] is None and norms[0] == norms[2]


@pytest.mark.slow
def test_a_run_has_points_of_every_step_with_everything(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    memory = train(tiny("lora-r12", ["train.schedule=linear"]).spec, tmp_path)
    points = list(memory.points.values())
    assert [point.step for point in points] == list(range(1, 19))
    assert all(point.lr is not None and point.wall_s is not None and point.wall_s > 0 for point in points)
    assert [point.lr for point in points if point.task == "sts"] == pytest.approx(
        [points[0].lr * (1 - n / 6) for n in range(6)]
    )
    assert all(point.metric is not None for point in points if point.task != "sts")
    assert replace(points[0], wall_s=None) == replace(
        next(iter(train(tiny("lora-r12", ["train.schedule=linear"]).spec, tmp_path / "b").points.values())), wall_s=None
    )
