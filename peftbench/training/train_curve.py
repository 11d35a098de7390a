"""The training curve: loss, running metric, learning rate, gradient norm and pace, every few steps; bounded in length.

How the steps are joined into points depends on their number only, so that a run that is stopped anywhere and resumed
has the same points. Where they become too many, all but the newest are joined in pairs.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from peftbench.data.encode import EncodedSplit
from peftbench.data.standardise import LabelScale
from peftbench.spec.model import RunSpec
from peftbench.store.rows import TrainPoint
from peftbench.tasks import TaskSpec
from peftbench.training.divergence import diverged
from peftbench.training.metrics import predict, probabilities, score, score_tags
from peftbench.training.recorder import Recorder
from peftbench.training.stepper import StepResult
from peftbench.training.threshold import fixed

MOST_STEPS = 20  # in a point
POINTS_WANTED = 500  # of a run with few steps, whose points have fewer than `MOST_STEPS`
NORM_EVERY = 10  # steps, at least: it reads every gradient once more
METRIC_STEPS = 20  # whose examples the running metric is of
MOST_POINTS, NEWEST = 3000, 500
REPORT_EVERY_S = 1.0


def steps_a_point(total: int) -> int:
    """Return how many steps are joined into a point of a run of `total` steps."""
    return min(max(total // POINTS_WANTED, 1), MOST_STEPS)


class _Examples(NamedTuple):
    """The rows of a step, with their logits."""

    rows: np.ndarray
    logits: Tensor


class TrainCurve:
    """Joins steps into points; what a step leaves on the device is read, and checked for NaN, only then.

    Args:
        spec: the run's spec.
        total: its steps.
        rates: returns the learning rates of the last step, as text.
        recorder: receives the points, at most once a second.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        spec: RunSpec,
        total: int,
        rates: Callable[[], str],
        recorder: Recorder,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec, self.rates, self.recorder, self.clock = spec, rates, recorder, clock
        self.every = steps_a_point(total)
        self.points: list[TrainPoint] = []
        self._sum: Tensor | None = None
        self._steps = 0
        self._since_norm = 0
        self._seconds = 0.0
        self._began = 0.0
        self._examples: deque[_Examples] = deque(maxlen=METRIC_STEPS)
        self._reported, self._reported_at = 0, -math.inf

    def begin_task(self) -> None:
        """Forget the examples of the task before."""
        self._examples.clear()

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Within it, time is that of steps."""
        self._began = self.clock()
        try:
            yield
        finally:
            self._seconds += self.clock() - self._began

    def wants_norm(self, last: bool) -> bool:
        """Tell whether the gradients' norm of the next step is wanted; `last`: it is the task's last of the epoch."""
        return self._closes(last) and (last or self._since_norm + 1 >= NORM_EVERY)

    def _closes(self, last: bool) -> bool:
        return last or self._steps + 1 == self.every

    def add(
        self,
        at: tuple[int, int],
        task: TaskSpec,
        split: EncodedSplit,
        scale: LabelScale,
        rows: Sequence[np.ndarray],
        done: StepResult,
        *,
        last: bool,
    ) -> None:
        """Add a step.

        Args:
            at: its number in the run, and its epoch.
            task: of the step.
            split: the task's training examples.
            scale: of their labels.
            rows: the examples of each of its batches.
            done: what the step computed.
            last: it is the task's last of the epoch.

        Raises:
            TrainingError: the mean loss of a point is not finite.
        """
        (step, epoch), closes = at, self._closes(last)
        self._sum = done.loss.clone() if self._sum is None else self._sum.add_(done.loss)
        self._steps += 1
        self._since_norm = 0 if done.grad_norm is not None else self._since_norm + 1
        self._examples.append(_Examples(np.concatenate(rows), torch.cat(done.logits)))
        if not closes:
            return
        mean = float(self._sum) / self._steps
        if not math.isfinite(mean):
            self.report(now=True)
            when = f"at step {step}" if self._steps == 1 else f"within the {self._steps} steps before step {step}"
            raise diverged(
                f"the loss of task {task.name} is {mean} {when}",
                self.spec,
                self.rates(),
            )
        now = self.clock()
        self._seconds, self._began = self._seconds + now - self._began, now
        norm = None if done.grad_norm is None else float(done.grad_norm)
        self.points.append(
            TrainPoint(
                step,
                epoch,
                task.name,
                self._steps,
                mean,
                self._metric(task, split, scale),
                done.lr,
                norm if norm is not None and math.isfinite(norm) else None,
                self._seconds,
            )
        )
        self._sum, self._steps, self._seconds = None, 0, 0.0
        self._thin()

    def report(self, *, now: bool = False) -> None:
        """Report the new points, if a second has passed since the last report, or `now`."""
        moment = self.clock()
        if self._reported == len(self.points) or (moment - self._reported_at < REPORT_EVERY_S and not now):
            return
        self._reported_at = moment
        self.recorder.train_points(self.points[self._reported :])
        self._reported = len(self.points)

    def _thin(self) -> None:
        if len(self.points) <= MOST_POINTS:
            return
        self.points = [*_in_pairs(self.points[:-NEWEST]), *self.points[-NEWEST:]]
        self.recorder.train_points(self.points, in_place_of_all=True)
        self._reported, self._reported_at = len(self.points), self.clock()

    def _metric(self, task: TaskSpec, split: EncodedSplit, scale: LabelScale) -> float | None:
        """Return the headline metric of the last steps' examples, as they were predicted in training."""
        logits = torch.cat([each.logits for each in self._examples]).float().cpu().numpy()
        rows = np.concatenate([each.rows for each in self._examples])
        of_labels = probabilities(task, logits)
        predictions = scale.restored(predict(task, logits, fixed(task)))
        if split.words is not None:
            return score_tags(task, split.words, rows, predictions).value
        labels = split.labels if split.unscaled is None else split.unscaled
        return score(task, predictions, labels[rows], of_labels).value

    def state(self) -> dict[str, Any]:
        """Return what is needed to resume, in tensors and plain containers."""
        return {
            "points": [astuple(point) for point in self.points],
            "sum": self._sum,
            "steps": self._steps,
            "since_norm": self._since_norm,
            "seconds": self._seconds,
            "examples": [(torch.from_numpy(each.rows), each.logits) for each in self._examples],
        }

    def load_state(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore from what `state` returned, with tensors on the device, and report all points again."""
        self.points = [TrainPoint(*values) for values in state["points"]]
        self._sum = None if state["sum"] is None else state["sum"].to(device)
        self._steps = state["steps"]
        self._since_norm, self._seconds = state.get("since_norm", 0), state.get("seconds", 0.0)
        examples = state.get("examples", ())
        self._examples.extend(_Examples(rows.numpy(), logits.to(device)) for rows, logits in examples)
        if self.points:
            self.recorder.train_points(self.points, in_place_of_all=not state.get("of_task_only"))
        self._reported = len(self.points)


def _in_pairs(points: Sequence[TrainPoint]) -> list[TrainPoint]:
    """Join neighbouring points of a task in pairs."""
    joined: list[TrainPoint] = []
    waiting: dict[str, TrainPoint] = {}
    for point in points:
        before = waiting.pop(point.task, None)
        if before is None:
            waiting[point.task] = point
        else:
            joined.append(_joined(before, point))
    return sorted([*joined, *waiting.values()], key=lambda point: point.step)


def _joined(first: TrainPoint, second: TrainPoint) -> TrainPoint:
    """Return one point for two: at the later one's step and rate, with means weighted by steps."""
    parts = first, second

    def mean(name: str) -> float | None:
        known = [(getattr(part, name), part.steps) for part in parts if getattr(part, name) is not None]
        return sum(value * steps for value, steps in known) / sum(steps for _, steps in known) if known else None

    loss, seconds = mean("loss"), [part.wall_s for part in parts if part.wall_s is not None]
    assert loss is not None, "every point has a loss"
    return TrainPoint(
        second.step,
        second.epoch,
        second.task,
        first.steps + second.steps,
        loss,
        mean("metric"),
        second.lr,
        mean("grad_norm"),
        sum(seconds) if seconds else None,
    )
