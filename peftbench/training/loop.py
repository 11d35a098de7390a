"""The study's training: each epoch takes the tasks one after another, then scores every one of them.

    for each epoch:
        for each task, in the workload's order:
            switch to its adapters; one AdamW step a batch (or a few batches), in random order
        score every task on dev and on a fixed part of train; keep the best epoch

Everything random comes from the run's seed through streams of its own (`seeds`), so that on the CPU the
same spec gives the same metrics to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from peftbench.data.batches import Batcher, MakeBatch
from peftbench.meters.session import MeterSession
from peftbench.model import MultitaskModel
from peftbench.seeds import derive_seed
from peftbench.spec.model import RunSpec
from peftbench.store.rows import Phase
from peftbench.tasks import TaskSpec
from peftbench.training.batching import Batchers, TaskData, step_rows
from peftbench.training.best import Best
from peftbench.training.checkpoint import checkpoint_path, remove_others, save_weights
from peftbench.training.losses import LossCurve
from peftbench.training.memory import StepMemory
from peftbench.training.pace import ProgressTeller
from peftbench.training.plan import Plan
from peftbench.training.recorder import Recorder
from peftbench.training.scoring import Scorer, predictions
from peftbench.training.stepper import Stepper

WARMUP_STEPS = 10  # the first steps of a run: trained on, but not timed


class Trainer:
    """Trains a model on its tasks and tells a recorder.

    Args:
        spec: all that determines the run.
        model: on `device`, its trainable weights marked.
        data: the encoded splits of every task of the spec.
        independent_tasks: no trained weight is shared by two tasks, so each has a best epoch of its own.
        batcher: makes the model's batches, on its device.
        recorder: is told what happens.
        meters: measure every phase.
        folder: for checkpoints.
    """

    def __init__(
        self,
        spec: RunSpec,
        model: MultitaskModel,
        data: Mapping[str, TaskData],
        *,
        independent_tasks: bool,
        batcher: Batcher,
        recorder: Recorder,
        meters: MeterSession,
        folder: Path,
    ) -> None:
        self.spec, self.model, self.data = spec, model, data
        self.independent_tasks = independent_tasks
        self.recorder, self.meters, self.folder = recorder, meters, folder
        self.plan = Plan.of(spec.train, {name: len(each.train) for name, each in data.items()})
        self.stepper = Stepper(spec, model, self.plan)
        self.progress = ProgressTeller(recorder, meters, self.plan.total)
        self.batchers = Batchers(spec, model, batcher, recorder, meters, self.progress)
        self.scorer = Scorer(spec, model, data, self.batchers, self.stepper, meters, self.progress)
        self.memory = StepMemory(spec, model, {name: each.train for name, each in data.items()})
        self.best = Best()
        self._peak_mib: float | None = None  # of torch's allocator, in training

    def run(self) -> str | None:
        """Train every epoch; return why it ended before those that were asked for, or None.

        Raises:
            TrainingError: the loss is no longer a number.
            Interrupted: the recorder was asked to stop; finished epochs are already stored.
        """
        for epoch in range(1, self.plan.epochs + 1):
            phases: list[Phase] = []
            for task in self.spec.tasks:
                phases += self._train_task(epoch, task)
            self._finish_epoch(epoch, phases)
            early = self.best.stopped(self.spec.train.patience, epoch)
            if early is not None and epoch < self.spec.train.epochs:
                return early
        return self.plan.shortened()

    def measured_memory(self) -> dict[str, int | None]:
        """Return the anatomy of a training step, in bytes by part, measured once training is over."""
        prefixes = self.batchers.prefixes
        batchers = {
            name: prefixes.batcher(f"{name} train", each.train, training=True)[0] for name, each in self.data.items()
        }
        peak = None if self._peak_mib is None else round(self._peak_mib * 2**20)
        return self.memory.measured(self.stepper.optimizer, batchers, peak)

    def _train_task(self, epoch: int, task: TaskSpec) -> list[Phase]:
        steps = self.plan.steps(task.name, epoch)
        if not steps:
            return []
        split = self.data[task.name].train
        batcher, phases = self.batchers.of(
            "train", split, epoch=epoch, task=task.name, done=self.stepper.steps_done, training=True
        )
        torch.manual_seed(derive_seed(self.spec.seed, "dropout", epoch, task.name))
        self.model.switch_mode(task.name)
        self.model.train()
        losses = LossCurve(task.name, self.spec, self.stepper.rates)
        numbered = enumerate(islice(step_rows(self.spec, epoch, task.name, split), steps), start=1)
        warmup = min(WARMUP_STEPS, steps) if self.stepper.steps_done == 0 else 0
        if warmup:
            phases.append(self._steps("warmup", epoch, task, islice(numbered, warmup), steps, losses, batcher))
        if warmup < steps:
            phases.append(self._steps("train", epoch, task, numbered, steps, losses, batcher))
        self.recorder.losses(epoch, task.name, losses.finish(self.stepper.steps_done))
        return phases

    def _steps(
        self,
        name: str,
        epoch: int,
        task: TaskSpec,
        numbered: Iterator[tuple[int, list[np.ndarray]]],
        steps: int,
        losses: LossCurve,
        batcher: MakeBatch,
    ) -> Phase:
        """Train on numbered steps' rows, as one phase; only what is inside a step is its time."""
        split = self.data[task.name].train
        with self.meters.phase(name, epoch, task.name, "train") as measured:
            for step, parts in numbered:
                batches = [batcher(split, rows) for rows in parts]
                with measured.steps:
                    loss = self.stepper.step(task, batches)
                measured.count(sum(map(len, parts)), sum(batch.tokens for batch in batches))
                losses.add(self.stepper.steps_done, loss)
                self.progress.tell("train", epoch, task.name, step, steps, self.stepper.steps_done)
        usage = measured.row.usage
        if usage is not None and usage.peak_allocated_mib is not None:
            self._peak_mib = max(usage.peak_allocated_mib, self._peak_mib or 0.0)
        return measured.row

    def _finish_epoch(self, epoch: int, phases: list[Phase]) -> None:
        scored = self.scorer.score(epoch)
        self.best.offer(epoch, scored.summary.dev_avg)
        if self.independent_tasks:
            for name, result in scored.dev.items():
                self.best.offer_task(name, epoch, result.metric.value)
        saved = self._save(epoch)
        self.recorder.epoch(
            scored.summary,
            scored.scores,
            [*phases, *scored.phases, saved],
            best_epoch=self.best.epoch,
            task_bests=tuple(self.best.tasks.values()),
            predictions=predictions(epoch, scored, self.data, self.best),
        )
        remove_others(self.folder, self.best.files(self.folder))

    def _save(self, epoch: int) -> Phase:
        """Write what this epoch is the best of, before the store says so."""
        spec_hash = self.spec.hash()
        with self.meters.phase("checkpoint", epoch) as measured:
            if self.best.epoch == epoch:
                save_weights(self.model.saved(), checkpoint_path(self.folder, epoch), spec_hash)
            for task, best in self.best.tasks.items():
                if best.epoch == epoch:
                    path = checkpoint_path(self.folder, epoch, task)
                    save_weights(self.model.saved(task), path, spec_hash)
        return measured.row
