"""Training as in the study: each epoch trains one task after another, then scores every task.

    for each epoch:
        for each task, in the workload's order:
            switch to its adapters; one AdamW step a batch (or a few batches), in random order
        score every task on dev and on a fixed part of train; keep the best epoch
    score the best epoch on the test split, where the spec has one

All randomness comes from the run's seed through separate streams (`seeds`), so that on the CPU the same spec gives the
same metrics to the last bit, also when the run is stopped anywhere and resumed from a checkpoint. `position` is where
training stands; `resume` saves and restores everything that the rest of the run depends on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from peftbench.analysis.scores import average_sign
from peftbench.data.batches import Batcher, MakeBatch
from peftbench.data.encode import EncodedSplit
from peftbench.errors import Interrupted, StorageError
from peftbench.meters.session import MeterSession
from peftbench.metrics import sign_of
from peftbench.model import MultitaskModel
from peftbench.seeds import derive_seed
from peftbench.spec.evaluation import evaluations
from peftbench.spec.model import RunSpec
from peftbench.store.rows import EpochResult, Phase
from peftbench.tasks import TaskSpec
from peftbench.training.batching import Batchers, TaskData
from peftbench.training.best import Best
from peftbench.training.checkpoint import (
    KEPT,
    Checkpoint,
    Checkpoints,
    Position,
)
from peftbench.training.files import when_there_is_room
from peftbench.training.inputs import WEIGHTS
from peftbench.training.interim import InterimSchedule
from peftbench.training.objective import objectives
from peftbench.training.plan import Plan
from peftbench.training.progress import ProgressReporter, schedule
from peftbench.training.recorder import Recorder
from peftbench.training.resume import resume, state_of
from peftbench.training.sampling import step_rows
from peftbench.training.scoring import Scorer, predictions
from peftbench.training.stepper import Stepper
from peftbench.training.train_curve import TrainCurve
from peftbench.training.weights import FileMark, damage, load_weights, remove_others, save_weights, weights_path

WARMUP_STEPS = 10  # the first steps of each process: trained on, but not timed


class Trainer:
    """Trains a model on its tasks and reports to a recorder.

    Args:
        spec: all that determines the run.
        model: on `device`, its trainable weights marked.
        data: the encoded splits of every task of the spec.
        tests: by task, the test split; empty where the spec has none. Read after training only.
        independent_tasks: no trained weight is shared by two tasks, so each has a best epoch of its own.
        batcher: makes the model's batches, on its device.
        recorder: receives what happens.
        meters: measure every phase.
        folder: for weights.
        inputs: hash of the data and the pretrained weights, which no spec knows.
        checkpoints: of this run, to write.
        checkpoint: the one to resume from.
    """

    def __init__(
        self,
        spec: RunSpec,
        model: MultitaskModel,
        data: Mapping[str, TaskData],
        tests: Mapping[str, EncodedSplit],
        *,
        independent_tasks: bool,
        batcher: Batcher,
        recorder: Recorder,
        meters: MeterSession,
        folder: Path,
        inputs: str,
        checkpoints: Checkpoints,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.spec, self.model, self.data, self.tests = spec, model, data, tests
        self.independent_tasks = independent_tasks
        self.recorder, self.meters, self.folder = recorder, meters, folder
        self.plan = Plan.of(spec.train, {name: len(each.train) for name, each in data.items()})
        own = objectives(spec.tasks, {name: each.train.trained_labels for name, each in data.items()})
        for objective in own.values():
            recorder.note("data", objective.described())
        self.stepper = Stepper(spec, model, self.plan, own)
        self.progress = ProgressReporter(recorder, meters, self.plan.total)
        self.batchers = Batchers(spec, model, batcher, recorder, meters, self.progress)
        self.scorer = Scorer(spec, model, data, self.batchers, self.stepper, meters, self.progress)
        self.inputs, self.checkpoints, self._resume_from = inputs, checkpoints, checkpoint
        self.position = Position(1, 0, 0)
        self.best = Best()
        self.marks: dict[str, FileMark] = {}  # of the best weights, by file name
        self.interim = InterimSchedule(spec.eval.every)
        self.curve = TrainCurve(spec, self.plan.total, self.stepper.rates, recorder)
        self.phases: list[Phase] = []  # of the epoch in training
        self.steps_here = 0  # optimiser steps of this process
        self.peak_mib: float | None = None  # of torch's allocator, in training
        self.needed_files: deque[set[Path]] = deque(maxlen=KEPT)  # the best weights that each checkpoint refers to

    def run(self) -> str | None:
        """Train every epoch, from where the checkpoint ended; return why fewer were trained than asked for, or None.

        Raises:
            TrainingError: the loss is not a number.
            StorageError: the weights of a best epoch cannot be written, or are damaged at the end.
            Interrupted: the recorder requested a stop; a checkpoint has all that was done.
        """
        with self.recorder.deferred():
            resume(self, self._resume_from)
            self._resume_from = None  # it holds a copy of all trained weights
            self._describe_schedule()
            try:
                while not self.is_over():
                    self._train_epoch()
                    self._finish_epoch()
            except Interrupted:
                self.curve.report(now=True)
                self.checkpoints.write(state_of(self))
                raise
            remove_others(self.folder, self.best.files(self.folder))
            self._check_weights()
            if self.tests:
                self._score_held_out()
        return self._stopped_early() or self.plan.shortened()

    def _train_epoch(self) -> None:
        epoch = self.position.epoch
        for index in range(self.position.task, len(self.spec.tasks)):
            self._train_task(epoch, self.spec.tasks[index])
            self.position = Position(epoch, index + 1, 0)

    def _train_task(self, epoch: int, task: TaskSpec) -> None:
        steps = self.plan.steps(task.name, epoch)
        if not steps:
            return
        split = self.data[task.name].train
        batcher, phases = self.batchers.of(
            "train", split, epoch=epoch, task=task.name, done=self.stepper.steps_done, training=True
        )
        self.phases += phases
        self.model.switch_mode(task.name)
        self.model.train()
        if self.position.step == 0:
            torch.manual_seed(derive_seed(self.spec.seed, "dropout", epoch, task.name))
            self.curve.begin_task()
        rows = islice(step_rows(self.spec, epoch, task.name, split.lengths), self.position.step, steps)
        while self.position.step < steps:
            if self.interim.is_due(self.position, steps):
                self._evaluate_within(epoch, task)
            self._train_steps(task, rows, steps, batcher)
            if self.checkpoints.is_due():
                self.phases.append(self._write_checkpoint(epoch))
        self.curve.report(now=True)

    def _train_steps(self, task: TaskSpec, rows: Iterator[list[np.ndarray]], steps: int, batcher: MakeBatch) -> None:
        """Train in one measured phase until the task ends, a stop or a due checkpoint; making batches is not timed."""
        data, warmup_left = self.data[task.name], WARMUP_STEPS - self.steps_here
        name, most = ("warmup", warmup_left) if warmup_left > 0 else ("train", steps)
        stop: Interrupted | None = None
        with self.meters.phase(name, self.position.epoch, task.name, "train") as measured, self.curve.timed():
            for parts in islice(rows, most):
                batches = [batcher(data.train, part) for part in parts]
                last = self.position.step + 1 == steps
                norm = self.curve.wants_norm(last)
                with measured.steps:
                    done = self.stepper.step(task, batches, norm=norm)
                measured.count(sum(map(len, parts)), sum(batch.tokens for batch in batches))
                self.steps_here += 1
                self.position = self.position._replace(step=self.position.step + 1)
                at = (self.stepper.steps_done, self.position.epoch)
                self.curve.add(at, task, data.train, data.scale, parts, done, last=last)
                self.curve.report()
                try:
                    self._report_progress(task, steps)
                except Interrupted as error:
                    stop = error
                due = self.checkpoints.is_due() or self.interim.is_due(self.position, steps)
                if stop is not None or due:
                    break
        self.phases.append(measured.row)
        usage = measured.row.usage
        if usage is not None and usage.peak_allocated_mib is not None:
            self.peak_mib = max(usage.peak_allocated_mib, self.peak_mib or 0.0)
        if stop is not None:
            raise stop

    def _evaluate_within(self, epoch: int, task: TaskSpec) -> None:
        """Score a fixed part of dev in the middle of an epoch: the task in training, or all that share its weights."""
        others = () if self.independent_tasks else (each for each in self.spec.tasks if each.name != task.name)
        scores, phases = self.scorer.interim(epoch, (*others, task))
        self.phases += phases
        self.curve.report(now=True)
        self.recorder.interim(scores)
        self.interim.done(self.position)
        self.model.switch_mode(task.name)
        self.model.train()

    def _report_progress(self, task: TaskSpec, steps: int) -> None:
        epoch, _, step = self.position
        self.progress.tell("train", epoch, task.name, step, steps, self.stepper.steps_done)

    def _finish_epoch(self) -> None:
        epoch = self.position.epoch
        evaluation = self.scorer.score(epoch)
        signs = {task.name: sign_of(task.headline) for task in self.spec.tasks}
        self.best.offer(epoch, evaluation.summary.dev_avg, average_sign(signs.values()))
        if self.independent_tasks:
            for name, scored in evaluation.dev.items():
                self.best.offer_task(name, epoch, scored.metric.value, signs[name])
        if self.scorer.thresholds:
            self.recorder.describe(conditions={"thresholds": self.scorer.thresholds})
        saved = self._save_best_weights(epoch)
        result = EpochResult(
            epoch=evaluation.summary,
            scores=evaluation.scores,
            phases=[*self.phases, *evaluation.phases, saved],
            best_epoch=self.best.epoch,
            task_bests=tuple(self.best.tasks.values()),
            predictions=predictions(epoch, evaluation, self.data, self.best),
        )
        self.recorder.epoch(result)
        self.position, self.phases = Position(epoch + 1, 0, 0), []
        self.recorder.phases([self._write_checkpoint(None)])
        remove_others(self.folder, self.best.files(self.folder).union(*self.needed_files))

    def _save_best_weights(self, epoch: int) -> Phase:
        """Write the weights that this epoch is the best of, before the store says so."""
        tasks: list[str | None] = [task for task, best in self.best.tasks.items() if best.epoch == epoch]
        with self.meters.phase("checkpoint", epoch) as measured:
            improved = [None, *tasks] if self.best.epoch == epoch else tasks
            for task in improved:
                path = weights_path(self.folder, epoch, task)
                when_there_is_room(partial(self._save_weights, path, task), self.recorder.note)
            if improved:
                names = {path.name for path in self.best.files(self.folder)}
                self.marks = {name: mark for name, mark in self.marks.items() if name in names}
                self.recorder.describe(conditions={WEIGHTS: {name: mark.sha256 for name, mark in self.marks.items()}})
        return measured.row

    def _save_weights(self, path: Path, task: str | None) -> None:
        self.marks[path.name] = save_weights(self.model.saved(task), path, self.spec.hash())

    def _write_checkpoint(self, epoch: int | None) -> Phase:
        with self.meters.phase("checkpoint", epoch) as measured:
            if self.checkpoints.write(state_of(self)):
                self.needed_files.append(self.best.files(self.folder))
        return measured.row

    def _score_held_out(self) -> None:
        """Score the test split, with the weights of the epoch that dev chose."""
        epoch = self.best.epoch
        assert epoch is not None, "every finished run has a best epoch"
        load_weights(self.model, weights_path(self.folder, epoch), self.spec.hash())
        self.recorder.held_out(self.scorer.held_out(epoch, self.tests))

    def _check_weights(self) -> None:
        for path in sorted(self.best.files(self.folder)):
            if (wrong := damage(path, self.spec.hash(), self.marks.get(path.name))) is not None:
                raise StorageError(
                    f"the best weights {path} are gone or not as they were written: {wrong}",
                    "resume the run: it makes them again",
                )

    def is_over(self) -> bool:
        """Return whether no epoch is left to train."""
        return self.position.epoch > self.plan.epochs or self._stopped_early() is not None

    def _stopped_early(self) -> str | None:
        done = self.position.epoch - 1
        return self.best.stopped(self.spec.train.patience, done) if done < self.spec.train.epochs else None

    def _describe_schedule(self) -> None:
        examples_per_step = self.spec.train.batch_size * self.spec.train.accumulation_steps
        tested = [(name, "test", len(split)) for name, split in self.tests.items()]
        work = schedule(self.plan, examples_per_step, self.scorer.parts(), tested, self._interim_examples())
        self.recorder.describe(conditions={"course": work})

    def _interim_examples(self) -> dict[str, int]:
        """Return how many examples are evaluated within an epoch, by task; where time decides that, none are known."""
        sizes = {name: len(sample) for name, sample in self.scorer.dev_samples.items()}
        every, counts = self.spec.eval.every, dict.fromkeys(sizes, 0)
        for task, steps in self.plan.per_epoch.items():
            for scored in [task] if self.independent_tasks else sizes:
                if scored in counts:
                    counts[scored] += evaluations(every, steps) * sizes[scored]
        return {name: count for name, count in counts.items() if count}

    @property
    def peak_bytes(self) -> int | None:
        """The peak of torch's allocator in training; None on devices where torch does not count."""
        return None if self.peak_mib is None else round(self.peak_mib * 2**20)
