"""Evaluations within an epoch: when they are due, what they are of, and that training does not notice them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from peftbench.analysis.time_left import INTERIM_PHASE, Course, time_left_s
from peftbench.errors import UsageError
from peftbench.spec import Resolved, resolve
from peftbench.spec.evaluation import evaluations, interval
from peftbench.store.rows import Progress
from peftbench.training.checkpoint import Position
from peftbench.training.interim import InterimSchedule
from tests.factories import comparable_record as record
from tests.recorders import Memory, train

pytestmark = pytest.mark.usefixtures("no_prediction")
EVERY = "eval.every=2"


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (500, (500, "steps")),
        ("500", (500, "steps")),
        ("25%", (25, "%")),
        ("12.5 %", (12.5, "%")),
        ("90s", (90, "s")),
        ("5min", (300, "s")),
    ],
)
def test_what_every_means(every: int | str, expected: tuple[float, str]) -> None:
    assert interval(every) == expected


@pytest.mark.parametrize("every", ["0", "-5", "2.5", "0%", "101%", "0.5s", "often", "5 hours", "''"])
def test_what_is_no_interval_is_refused(every: str) -> None:
    with pytest.raises(UsageError, match=r"eval\.every"):
        resolve("full", overrides=[f"eval.every={every}"])


@pytest.mark.parametrize(
    ("every", "steps", "due"),
    [(3, 10, [3, 6, 9]), (5, 10, [5]), (10, 10, []), ("25%", 10, [3, 6, 9]), ("50%", 7, [4]), ("1%", 3, [1, 2])],
)
def test_it_is_due_after_these_steps_but_not_after_the_last(every: int | str, steps: int, due: list[int]) -> None:
    schedule = InterimSchedule(every)
    assert [step for step in range(steps + 1) if schedule.is_due(Position(1, 0, step), steps)] == due
    assert evaluations(every, steps) == len(due)


def test_by_time_it_is_due_once_that_has_passed_since_the_last() -> None:
    now = [0.0]
    schedule = InterimSchedule("60s", lambda: now[0])
    assert not schedule.is_due(Position(1, 0, 5), 10)
    now[0] = 60
    assert schedule.is_due(Position(1, 0, 5), 10) and not schedule.is_due(Position(1, 0, 10), 10)
    schedule.done(Position(1, 0, 5))
    assert not schedule.is_due(Position(1, 0, 6), 10)
    assert evaluations("60s", 10) == 0


def test_no_position_is_evaluated_twice() -> None:
    schedule = InterimSchedule(2)
    schedule.done(Position(1, 0, 2))
    assert not schedule.is_due(Position(1, 0, 2), 10)
    assert schedule.is_due(Position(1, 1, 2), 10)


def result(memory: Memory) -> tuple[object, ...]:
    points = [replace(point, wall_s=None) for point in memory.points.values()]
    return memory.figures(), points, memory.predictions, memory.best_epoch, memory.task_bests


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["full", "dora-r12", "last-layer"])
def test_training_does_not_notice_them(preset: str, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    more = ["encoder.dropout=0.1"] if preset != "last-layer" else []
    plain = train(tiny(preset, more).spec, tmp_path / "plain")
    often = train(tiny(preset, [*more, EVERY, "eval.dev_examples=7"]).spec, tmp_path / "often")
    assert result(plain) == result(often)
    assert plain.interim_scores == [] and often.interim_scores
    assert {score.examples for score in often.interim_scores} == {7}


@pytest.mark.slow
def test_the_task_in_training_is_scored_or_all_where_they_share_weights(
    tiny: Callable[..., Resolved], tmp_path: Path
) -> None:
    runs = {name: train(tiny(name, [EVERY]).spec, tmp_path / name) for name in ("lora-r12", "full")}
    scores = {name: [(score.step, score.task) for score in run.interim_scores] for name, run in runs.items()}
    assert scores["lora-r12"] == [
        (2, "sst"),
        (5, "paraphrase"),
        (8, "sts"),
        (11, "sst"),
        (14, "paraphrase"),
        (17, "sts"),
    ]
    assert scores["full"][:3] == [(2, "paraphrase"), (2, "sts"), (2, "sst")] and len(scores["full"]) == 18
    assert {score.metric for score in runs["full"].interim_scores} == {"accuracy", "pearson"}
    phases = [phase for phase in runs["lora-r12"].seen_phases if phase.phase == INTERIM_PHASE]
    assert [(phase.epoch, phase.task, phase.split, phase.examples) for phase in phases] == [
        (epoch, task, "dev", 16) for epoch in (1, 2) for task in ("sst", "paraphrase", "sts")
    ]
    steps = sum(phase.steps or 0 for phase in runs["lora-r12"].seen_phases if phase.phase in ("warmup", "train"))
    assert steps == 18


@pytest.mark.slow
def test_the_last_score_of_all_dev_is_that_of_the_epoch_s_weights_then(
    tiny: Callable[..., Resolved], tmp_path: Path
) -> None:
    """A run that ends where another one evaluates has the same weights, so the same score."""
    one = train(_of_one_task(tiny, "full", ["eval.every=2", "eval.dev_examples=none"]), tmp_path / "one")
    short = train(_of_one_task(tiny, "full", ["train.max_steps=2", "train.epochs=1"]), tmp_path / "short")
    first = next(score for score in one.interim_scores if score.step == 2)
    last = next(score for score in short.scores if score.split == "dev")
    assert (first.value, first.loss) == (last.value, last.loss)


def _of_one_task(tiny: Callable[..., Resolved], preset: str, overrides: list[str]):
    spec = tiny(preset, overrides).spec
    return spec.model_copy(update={"tasks": spec.tasks[:1]})


def test_a_run_of_before_has_none_and_keeps_its_hash() -> None:
    plain, often = (resolve("full", overrides=more).spec for more in ([], [EVERY]))
    assert "every" not in plain.determinants()["eval"] and "dev_examples" not in plain.determinants()["eval"]
    assert often.determinants()["eval"]["every"] == 2 and plain.group_hash() != often.group_hash()


def test_the_time_left_counts_them() -> None:
    work = {
        "epochs": 2,
        "steps": {"a": 100, "b": 50},
        "most": None,
        "evaluated": [("a", "dev", 10), ("b", "dev", 10)],
        "examples_per_step": 8,
        "interim": {"a": 30},
    }
    pace = [("train", "a", 1.0), ("train", "b", 2.0), ("eval dev", "a", 0.1), ("eval dev", "b", 0.1)]
    pace.append((f"{INTERIM_PHASE} dev", "a", 0.5))
    own = record(conditions={"course": work, "pace": {"parts": pace}})
    assert Course.of(own.run.conditions).parts(1)[f"{INTERIM_PHASE} dev", "a"] == 30
    now = Progress(1, f"{INTERIM_PHASE} dev", "a", 3, 10, 40, 300, None, "2026-01-01T00:00:00.000Z")
    left = 60 * 1 + 50 * 2 + 30 * 0.5 + 20 * 0.1 + (100 * 1 + 50 * 2 + 30 * 0.5 + 20 * 0.1)
    assert time_left_s(own, now) == pytest.approx(left)
