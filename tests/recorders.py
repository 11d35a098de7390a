"""Recorders of a run in memory, and a run that is told to one."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from peftbench.errors import Interrupted
from peftbench.jobs.execute import execute
from peftbench.spec import RunSpec
from peftbench.store.rows import (
    Epoch,
    EpochResult,
    HeldOutResult,
    InterimScore,
    Phase,
    Prediction,
    Progress,
    SampleRow,
    Score,
    TaskBest,
    TrainPoint,
)


@dataclass
class Memory:
    """A recorder that remembers."""

    facts: dict[str, Any] = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    seen_phases: list[Phase] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    points: dict[int, TrainPoint] = field(default_factory=dict)  # by step
    interim_scores: list[InterimScore] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    best_epoch: int | None = None
    task_bests: tuple[TaskBest, ...] = ()
    stop_after: int | None = None

    test: HeldOutResult | None = None
    seen_samples: list[SampleRow] = field(default_factory=list)

    def describe(self, *, conditions: dict[str, Any], **facts: Any) -> None:
        self.facts |= facts | {"conditions": self.facts.get("conditions", {}) | conditions}

    def closing(self) -> None:
        self.notes.append("closing")

    @contextmanager
    def deferred(self) -> Iterator[None]:
        yield

    def asked(self) -> bool:
        return False

    def samples(self, rows: Sequence[SampleRow]) -> None:
        self.seen_samples += rows

    def ending(self, phase: Phase, samples: Sequence[SampleRow], conditions: dict[str, Any], **facts: Any) -> None:
        self.phases([phase])
        self.samples(samples)
        self.describe(conditions=conditions, **facts)

    def from_the_beginning(self) -> None:
        self.notes.append("from the beginning")

    def note(self, kind: str, message: str) -> None:
        self.notes.append(f"{kind}: {message}")

    def progress(self, progress: Progress) -> None:
        assert 0 <= progress.step <= progress.steps
        assert progress.done <= progress.total
        if self.stop_after is not None and len(self.epochs) >= self.stop_after:
            raise Interrupted("asked to stop")

    def train_points(self, points: Sequence[TrainPoint], *, in_place_of_all: bool = False) -> None:
        if in_place_of_all:
            self.points.clear()
        self.points |= {point.step: point for point in points}

    def interim(self, scores: Sequence[InterimScore]) -> None:
        self.interim_scores += scores

    @property
    def loss_points(self) -> list[tuple[int, int, float]]:
        """Last step, steps averaged over, and mean loss of each point."""
        return [(point.step, point.steps, point.loss) for point in self.points.values()]

    def phases(self, phases: Sequence[Phase]) -> None:
        self.seen_phases += phases

    def epoch(self, result: EpochResult) -> None:
        self.epochs.append(result.epoch)
        self.scores += result.scores
        self.seen_phases += result.phases
        self.predictions += result.predictions
        self.best_epoch, self.task_bests = result.best_epoch, tuple(result.task_bests)

    def held_out(self, result: HeldOutResult) -> None:
        self.test = result
        self.seen_phases += result.phases

    def figures(self) -> list[tuple[object, ...]]:
        return [(s.epoch, s.task, s.split, s.value, s.loss) for s in self.scores] + [
            (e.epoch, e.dev_avg, e.leaderboard) for e in self.epochs
        ]


def train(spec: RunSpec, folder: Path, **extra: Any) -> Memory:
    memory = Memory(**extra)
    execute(spec, memory, folder)
    return memory


def stopped_anywhere(spec: RunSpec, folder: Path, seed: str) -> Kept:
    """Execute a run that is stopped after 7, 8 or 11 calls of `progress`, again and again until it ends."""
    kept, stops = Kept(), random.Random(seed)
    for _ in range(60):
        kept.stop_at = stops.choice((7, 8, 11))
        try:
            execute(spec, kept, folder)
            return kept
        except Interrupted:
            continue
    raise AssertionError("the run did not end")


class Crash(BaseException):
    """A death that nobody can put in order."""


@dataclass
class Kept(Memory):
    """What a store keeps of a run that was told in several parts: the last word on each thing.

    `stop_at` counts the calls of `progress` until the run is asked to stop, `die_at` all calls until it dies.
    """

    rows: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    stop_at: float = float("inf")
    die_at: float = float("inf")
    inside: bool = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        self.inside = True
        try:
            yield
        finally:
            self.inside = False

    def _called(self) -> None:
        self.die_at -= self.inside
        if self.die_at <= 0:
            raise Crash

    def progress(self, progress: Progress) -> None:
        super().progress(progress)
        self._called()
        self.stop_at -= self.inside
        if self.stop_at <= 0:
            raise Interrupted("asked to stop")

    def train_points(self, points: Sequence[TrainPoint], *, in_place_of_all: bool = False) -> None:
        self._called()
        super().train_points(points, in_place_of_all=in_place_of_all)
        self.rows["points"] = [replace(point, wall_s=None) for point in self.points.values()]
        self._called()

    def interim(self, scores: Sequence[InterimScore]) -> None:
        self._called()
        self.rows |= {("interim", score.step, score.task): score for score in scores}
        self._called()

    def epoch(self, result: EpochResult) -> None:
        self._called()
        epoch = result.epoch
        self.rows["epoch", epoch.epoch] = (epoch.dev_avg, epoch.leaderboard, epoch.reason)
        for score in result.scores:
            self.rows["score", score.epoch, score.task, score.split] = score
        for row in result.predictions:
            self.rows["prediction", row.epoch, row.task, row.example_id] = row
        self.rows["best"] = (result.best_epoch, sorted(result.task_bests, key=lambda best: best.task))
        self.rows["trained", epoch.epoch] = sum(p.steps for p in result.phases if p.phase in ("warmup", "train"))
        self.seen_phases += result.phases
        self._called()

    def held_out(self, result: HeldOutResult) -> None:
        self._called()
        super().held_out(result)
        self.rows["test"] = (result.epoch, list(result.scores), list(result.predictions))
        self._called()
