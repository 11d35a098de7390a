"""Estimated time left of a running run: its remaining steps and evaluations, at their measured pace.

Pure functions over rows. The remaining work is in the run's conditions (`course`), written at its start; the pace is
that of its last finished epochs, or in the first epoch that of the finished parts (`pace`) and of the current one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from statistics import fmean

from peftbench.store.conditions import Conditions
from peftbench.store.rows import Phase, Progress, RunRecord

EPOCHS_LOOKED_AT = 3
FORWARD_SHARE = 1 / 3  # of a training step's time, before any evaluation was measured: a backward pass takes twice it

INTERIM_PHASE = "interim_eval"  # an evaluation within an epoch

Part = tuple[str, str]  # (`train`, task) in steps; (`eval <split>` or `interim_eval dev`, task) in examples


@dataclass(frozen=True, slots=True)
class Course:
    """The planned work of a run, from its conditions.

    epochs: their number.
    steps: of each task in a full epoch, in order.
    most: maximum steps of a task over the run.
    evaluated: the parts of an evaluation, in order, with their numbers of examples.
    examples_per_step: in training.
    tested: the parts of the evaluation on the test split, after training.
    interim: those of the evaluations within an epoch.
    """

    epochs: int
    steps: Mapping[str, int]
    most: int | None
    evaluated: Mapping[Part, int]
    examples_per_step: int
    tested: Mapping[Part, int] = field(default_factory=dict)
    interim: Mapping[Part, int] = field(default_factory=dict)

    @classmethod
    def of(cls, conditions: Conditions) -> Course | None:
        """Return the course in a run's conditions; None for a run from before it was recorded."""
        stored = conditions.get("course")
        if not stored:
            return None
        evaluated, tested = (
            {(f"eval {split}", task): examples for task, split, examples in parts}
            for parts in (stored["evaluated"], stored.get("tested", ()))
        )
        interim = {(f"{INTERIM_PHASE} dev", task): count for task, count in stored.get("interim", {}).items()}
        return cls(
            *(stored["epochs"], stored["steps"], stored["most"], evaluated, stored["examples_per_step"]),
            *(tested, interim),
        )

    def parts(self, epoch: int) -> dict[Part, int]:
        """Return all parts of an epoch, in order, with their steps or examples."""
        trained: dict[Part, int] = {("train", task): self._steps(task, epoch) for task in self.steps}
        return {**trained, **self.interim, **self.evaluated}

    def left(self, progress: Progress) -> dict[Part, int]:
        """Return what is left of an epoch in training, by the steps done of the run."""
        before = sum(self._steps(task, epoch) for epoch in range(1, progress.epoch) for task in self.steps)
        rest, done = self.parts(progress.epoch), progress.done - before
        for part, steps in list(rest.items()):
            if part[0] == "train":
                rest[part] = steps - min(max(done, 0), steps)
                done -= steps
        return rest

    def _steps(self, task: str, epoch: int) -> int:
        done, until = ((epoch - n) * self.steps[task] for n in (1, 0))
        return until - done if self.most is None else max(min(until, self.most) - done, 0)


def time_left_s(record: RunRecord, progress: Progress) -> float | None:
    """Estimate the seconds that a run still takes; None where nothing was measured yet."""
    course = Course.of(record.run.conditions)
    if not progress.total:
        return None
    if course is None:
        return _by_share(record, progress)
    pace = _pace(record, course, progress)
    if not any(kind == "train" for kind, _ in pace):
        return None
    if _part(progress) in course.tested:
        return _seconds(_rest(course.tested, progress), pace, course)
    interim = progress.phase.startswith(INTERIM_PHASE)
    now = course.left(progress) if interim else _rest(course.parts(progress.epoch), progress)
    coming = [now, *(course.parts(epoch) for epoch in range(progress.epoch + 1, course.epochs + 1))]
    seconds = sum(_seconds(parts, pace, course) for parts in (*coming, course.tested))
    return seconds + len(coming) * _between_s(record)


def _seconds(parts: Mapping[Part, int], pace: Mapping[Part, float], course: Course) -> float:
    return sum(units * _unit_s(part, pace, course) for part, units in parts.items())


def _rest(parts: Mapping[Part, int], progress: Progress) -> Mapping[Part, int]:
    """Return the unfinished ones of ordered parts, the current one with what is left of it."""
    here = _part(progress)
    if here not in parts:
        return parts
    order = list(parts)
    rest = {part: parts[part] for part in order[order.index(here) :]}
    if progress.phase.startswith(("train", "eval")):  # frozen features are computed before their part
        rest[here] = max(progress.steps - progress.step, 0)
    return rest


def _part(progress: Progress) -> Part:
    kind, _, split = progress.phase.partition(" ")
    if kind == "frozen_features":
        return ("train" if split == "train" else f"eval {split.partition(' ')[0]}"), progress.task or ""
    return progress.phase, progress.task or ""


def _pace(record: RunRecord, course: Course, progress: Progress) -> dict[Part, float]:
    """Return the seconds per step or example of each part measured so far."""
    stored = record.run.conditions.get("pace") or {}
    pace = {(kind, task): seconds for kind, task, seconds in stored.get("parts", ())}
    ended = sorted({epoch.epoch for epoch in record.epochs})[-EPOCHS_LOOKED_AT:]
    sums: dict[Part, tuple[float, int]] = {}
    for phase in record.phases:
        part = _measured(phase)
        if phase.epoch in ended and part is not None:
            seconds, units = sums.get(part, (0.0, 0))
            sums[part] = (
                seconds + _window_s(phase),
                units + ((phase.steps if part[0] == "train" else phase.examples) or 0),
            )
    pace |= {part: seconds / units for part, (seconds, units) in sums.items() if units}
    if progress.phase == "train" and progress.its:
        pace["train", progress.task or ""] = 1 / progress.its
    return pace


def _measured(phase: Phase) -> Part | None:
    if phase.task is None:
        return None
    if phase.phase in ("warmup", "train"):
        return "train", phase.task
    return (f"{phase.phase} {phase.split}", phase.task) if phase.phase in ("eval", INTERIM_PHASE) else None


def _unit_s(part: Part, pace: Mapping[Part, float], course: Course) -> float:
    """Return the seconds per step or example of a part; where not measured, those of the most similar parts."""
    if part in pace:
        return pace[part]
    kind, task = part
    train = [seconds for (other, _), seconds in pace.items() if other == "train"]
    if kind == "train":
        return fmean(train)
    evals = {other: seconds for other, seconds in pace.items() if other[0] != "train"}
    alike = [seconds for (_, of), seconds in evals.items() if of == task] or list(evals.values())
    if alike:
        return fmean(alike)
    return pace.get(("train", task), fmean(train)) / course.examples_per_step * FORWARD_SHARE


def _between_s(record: RunRecord) -> float:
    """Return the seconds per epoch outside all parts, mostly for writing checkpoints, over the last epochs."""
    moments = {epoch.epoch: datetime.fromisoformat(epoch.finished_at).timestamp() for epoch in record.epochs}
    gaps = [
        moments[epoch] - moments[epoch - 1] - _sum(p for p in record.phases if p.epoch == epoch and _measured(p))
        for epoch in sorted(moments)[-EPOCHS_LOOKED_AT:]
        if epoch - 1 in moments and len({p.attempt for p in record.phases if p.epoch in (epoch, epoch - 1)}) == 1
    ]
    if gaps:
        return max(fmean(gaps), 0.0)
    return _sum(p for p in record.phases if p.phase == "checkpoint" and p.epoch == max(moments, default=None))


def _sum(phases: Iterable[Phase]) -> float:
    return sum(map(_window_s, phases))


def _window_s(phase: Phase) -> float:
    """Return a phase's full time: that of training steps alone excludes the preparation of their batches."""
    return phase.usage.window_s if phase.usage is not None else phase.wall_s


def _by_share(record: RunRecord, progress: Progress) -> float | None:
    """Return the time left of a run without a course: from finished epochs, else from its current pace."""
    left = progress.total - progress.done
    if not left and progress.phase != "train":
        return None  # evaluations are not in the step count
    ended = {epoch.epoch for epoch in record.epochs}
    phases = [phase for phase in record.phases if phase.epoch in ended]
    steps = sum(phase.steps or 0 for phase in phases if phase.phase in ("warmup", "train"))
    if steps:
        return left * sum(phase.wall_s for phase in phases) / steps
    return left / progress.its if progress.its else None
