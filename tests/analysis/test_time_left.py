"""Estimated time left: a run is simulated with a scripted clock, and the estimate is checked at every moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from peftbench.analysis.time_left import Course, time_left_s
from peftbench.spec.model import TrainSpec
from peftbench.store.rows import Epoch, Phase, Progress, RunRecord
from peftbench.training.plan import Plan
from peftbench.training.progress import ProgressReporter, schedule
from tests.factories import run_row as run

STEP_S = {"sst": 0.1, "sts": 0.3}
EXAMPLE_S = {"sst": 0.004, "sts": 0.014}
EVALUATED = [("sst", "train", 50), ("sst", "dev", 400), ("sts", "train", 50), ("sts", "dev", 400)]
BATCH = 8
CHECKPOINT_S = 1.5


@dataclass
class Played:
    """A simulated run with its stored rows, and a clock that advances only with its work."""

    plan: Plan
    moment: float = 0.0
    conditions: dict[str, Any] = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    told: list[tuple[float, Progress, RunRecord]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.conditions["course"] = schedule(self.plan, BATCH, EVALUATED)
        self.teller = ProgressReporter(self, self, self.plan.total, lambda: self.moment)  # type: ignore[arg-type]

    # interface of a recorder and of meters

    def describe(self, *, conditions: dict[str, Any]) -> None:
        self.conditions |= conditions

    def progress(self, progress: Progress) -> None:
        shown = replace(run("a"), conditions=dict(self.conditions), epochs_planned=self.plan.epochs)
        self.told.append((self.moment, progress, RunRecord(shown, tuple(self.epochs), phases=tuple(self.phases))))

    def asked(self) -> bool:
        return False

    def rows(self) -> list[Any]:
        return []

    # the simulated work

    def play(self) -> list[tuple[Progress, float, float | None]]:
        """Simulate it to its end; return the progress, the true time left, and the estimate at each moment."""
        done = 0
        for epoch in range(1, self.plan.epochs + 1):
            phases = []
            for task in self.plan.per_epoch:
                began, steps = self.moment, self.plan.steps(task, epoch)
                for step in range(1, steps + 1):
                    self.moment += STEP_S[task]
                    done += 1
                    self.teller.tell("train", epoch, task, step, steps, done)
                if steps:
                    phases.append(Phase("train", epoch, task, "train", self.moment - began, steps=steps))
            for task, split, examples in EVALUATED:
                began = self.moment
                for scored in range(10, examples + 1, 10):
                    self.moment += 10 * EXAMPLE_S[task]
                    self.teller.tell(f"eval {split}", epoch, task, scored, examples, done)
                phases.append(Phase("eval", epoch, task, split, self.moment - began, examples=examples))
            self.moment += CHECKPOINT_S
            self.phases += [*phases, Phase("checkpoint", epoch, None, None, CHECKPOINT_S)]
            at = datetime.fromtimestamp(1_700_000_000 + self.moment, UTC).isoformat()
            self.epochs.append(Epoch(epoch, 0.5, 0.5, None, at))
        return [
            (progress, self.moment - moment, time_left_s(record, progress)) for moment, progress, record in self.told
        ]


def plan(**changed: Any) -> Plan:
    return Plan.of(TrainSpec(batch_size=BATCH, **{"lr": 0.001, "epochs": 3, **changed}), {"sst": 400, "sts": 160})


@pytest.fixture
def played() -> list[tuple[Progress, float, float | None]]:
    return Played(plan()).play()


def of(found: list[tuple[Progress, float, float | None]], phase: str, epoch: int) -> Iterator[tuple[float, float]]:
    matching = [(real, said) for p, real, said in found if p.phase.startswith(phase) and p.epoch == epoch]
    assert matching, (phase, epoch)
    for real, said in matching:
        assert said is not None
        yield real, said


@pytest.mark.parametrize("epoch", [2, 3])
@pytest.mark.parametrize("phase", ["train", "eval"])
def test_with_an_epoch_to_judge_by_it_is_right_at_every_moment(played: Any, phase: str, epoch: int) -> None:
    for real, said in of(played, phase, epoch):
        assert said == pytest.approx(real, rel=0.02, abs=0.5)


def test_the_last_evaluation_is_not_forgotten(played: Any) -> None:
    """All training steps are done then, but seconds remain."""
    real, said = next(of(played, "eval train", 3))
    assert real > 8
    assert said == pytest.approx(real, abs=0.5)


def test_the_first_evaluation_has_an_estimate(played: Any) -> None:
    for real, said in of(played, "eval", 1):
        assert 0.6 * real < said < 1.3 * real
    *_, (real, said) = of(played, "eval dev", 1)
    assert said == pytest.approx(real, rel=0.02, abs=3 * CHECKPOINT_S + 0.5)  # no checkpoint was measured yet


def test_from_the_first_steps_on_it_is_of_the_right_size(played: Any) -> None:
    later = list(of(played[1:], "train", 1))
    assert all(0.4 * real < said < 1.3 * real for real, said in later)


def test_before_a_second_step_nothing_is_known(played: Any) -> None:
    progress, _, said = played[0]
    assert (progress.step, said) == (1, None)


def test_steps_at_most_end_a_run_before_its_epochs() -> None:
    """One task reaches its maximum steps in the first epoch: the second epoch trains only the other."""
    found = Played(plan(epochs=9, max_steps=30)).play()
    assert max(progress.epoch for progress, _, _ in found) == 2
    for real, said in of(found, "eval", 2):
        assert said == pytest.approx(real, abs=2.0)


def test_a_prefix_is_computed_before_its_part() -> None:
    played = Played(plan(epochs=1))
    played.play()
    record = played.told[-1][2]
    before = Progress(1, "frozen_features dev", "sts", 5, 400, 70, 70, None, "")
    assert time_left_s(record, before) == pytest.approx(400 * EXAMPLE_S["sts"], rel=0.05)
    sample = Progress(1, "frozen_features train sample", "sst", 5, 50, 70, 70, None, "")
    rest = 450 * EXAMPLE_S["sst"] + 450 * EXAMPLE_S["sts"]
    assert time_left_s(record, sample) == pytest.approx(rest, rel=0.05)


def test_what_a_run_is_to_do_survives_json() -> None:
    import json

    told = json.loads(json.dumps(schedule(plan(max_steps=30), BATCH, EVALUATED)))
    found = Course.of({"course": told})
    assert found is not None
    assert found.parts(1)["train", "sst"] == 30
    assert (found.parts(2)["train", "sst"], found.parts(2)["train", "sts"]) == (0, 10)
    assert Course.of({}) is None
