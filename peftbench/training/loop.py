"""The study's training: each epoch takes the tasks one after another, then scores every one of them.

    for each epoch:
        for each task, in the workload's order:
            switch to its adapters; one AdamW step a batch, batches in random order
        score every task on dev and on a fixed part of train; keep the best epoch

Everything random comes from the run's seed through streams of its own (`seeds`), so that on the CPU the
same spec gives the same metrics to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from peftbench.analysis.scores import dev_average, leaderboard
from peftbench.data.batches import Batch, Batcher, MakeBatch, bucketed_batches, random_batches
from peftbench.data.encode import EncodedSplit
from peftbench.data.load import SPLITS
from peftbench.meters.session import MeterSession
from peftbench.model import MultitaskModel
from peftbench.seeds import derive_seed, generator
from peftbench.spec.model import RunSpec
from peftbench.store.rows import Epoch, Phase, Prediction, Score, TaskBest, now
from peftbench.tasks import TaskSpec
from peftbench.training.checkpoint import checkpoint_path, remove_others, save_weights
from peftbench.training.evaluation import Evaluation, evaluate, train_sample
from peftbench.training.losses import LossCurve, diverged
from peftbench.training.memory import StepMemory
from peftbench.training.metrics import loss_of
from peftbench.training.pace import ProgressTeller
from peftbench.training.prefix import Prefixes
from peftbench.training.recorder import Recorder

WARMUP_STEPS = 10  # the first steps of a run: trained on, but not timed


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task's encoded splits."""

    train: EncodedSplit
    dev: EncodedSplit


@dataclass(slots=True)
class _Best:
    """The best epoch so far, by dev average and for each task by itself."""

    epoch: int | None = None
    value: float | None = None
    tasks: dict[str, TaskBest] = field(default_factory=dict)

    def offer(self, epoch: int, value: float | None) -> None:
        """Take a strictly better epoch; the first one, even if its average does not exist."""
        if self.epoch is None or (value is not None and (self.value is None or value > self.value)):
            self.epoch, self.value = epoch, value

    def offer_task(self, task: str, epoch: int, value: float | None) -> None:
        """Likewise for one task."""
        known = self.tasks.get(task)
        if value is not None and (known is None or value > known.value):
            self.tasks[task] = TaskBest(task, epoch, value)


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
        self.spec = spec
        self.model = model
        self.data = data
        self.independent_tasks = independent_tasks
        self.meters = meters
        self.samples = {
            task.name: data[task.name].train.take(
                train_sample(task.name, len(data[task.name].train), spec.eval.train_examples)
            )
            for task in spec.tasks
        }
        self.prefixes = Prefixes(model, batcher, spec)
        self.recorder = recorder
        self.folder = folder
        train = spec.train
        self.optimizer = torch.optim.AdamW(
            model.method.parameter_groups(model.trainable(), train.lr),
            lr=train.lr,
            betas=train.betas,
            eps=train.eps,
            weight_decay=train.weight_decay,
            fused=True,
        )
        steps = {task.name: math.ceil(len(data[task.name].train) / train.batch_size) for task in spec.tasks}
        model.method.plan({task: count * train.epochs for task, count in steps.items()})
        self.epoch_steps = sum(steps.values())
        self.steps_done = 0
        self.best = _Best()
        self.memory = StepMemory(spec, model, {name: each.train for name, each in data.items()})
        self._peak_mib: float | None = None  # of torch's allocator, in training
        self._progress = ProgressTeller(recorder, meters, self.epoch_steps * train.epochs)

    def run(self) -> None:
        """Train every epoch.

        Raises:
            TrainingError: the loss is no longer a number.
            Interrupted: the recorder was asked to stop; finished epochs are already stored.
        """
        for epoch in range(1, self.spec.train.epochs + 1):
            phases: list[Phase] = []
            for task in self.spec.tasks:
                phases += self._train_task(epoch, task)
            self._finish_epoch(epoch, phases)

    def measured_memory(self) -> dict[str, int | None]:
        """Return the anatomy of a training step, in bytes by part, measured once training is over."""
        batchers = {
            name: self.prefixes.batcher(f"{name} train", each.train, training=True)[0]
            for name, each in self.data.items()
        }
        peak = None if self._peak_mib is None else round(self._peak_mib * 2**20)
        return self.memory.measured(self.optimizer, batchers, peak)

    def _train_task(self, epoch: int, task: TaskSpec) -> list[Phase]:
        split = self.data[task.name].train
        batcher, phases = self._batcher(epoch, task, "train", split, training=True)
        size = self.spec.train.batch_size
        steps = math.ceil(len(split) / size)
        order = generator(self.spec.seed, "order", epoch, task.name)
        torch.manual_seed(derive_seed(self.spec.seed, "dropout", epoch, task.name))
        self.model.switch_mode(task.name)
        self.model.train()
        losses = LossCurve(task.name, self.spec)
        batches = (
            bucketed_batches(split.lengths, size, order)
            if self.spec.train.batching == "bucketed"
            else random_batches(len(split), size, order)
        )
        numbered = enumerate(((batcher, rows) for rows in batches), start=1)
        warmup = min(WARMUP_STEPS, steps) if self.steps_done == 0 else 0
        if warmup:
            phases.append(self._steps("warmup", epoch, task, islice(numbered, warmup), steps, losses))
        if warmup < steps:
            phases.append(self._steps("train", epoch, task, numbered, steps, losses))
        self.recorder.losses(epoch, task.name, losses.finish(self.steps_done))
        return phases

    def _steps(
        self,
        name: str,
        epoch: int,
        task: TaskSpec,
        batches: Iterator[tuple[int, tuple[MakeBatch, np.ndarray]]],
        steps: int,
        losses: LossCurve,
    ) -> Phase:
        """Train on numbered batches, as one phase; only what is inside a step is its time."""
        split = self.data[task.name].train
        with self.meters.phase(name, epoch, task.name, "train") as measured:
            for step, (batcher, rows) in batches:
                batch = batcher(split, rows)
                with measured.steps:
                    loss = self._step(task, batch)
                measured.count(len(rows), batch.tokens)
                self.steps_done += 1
                losses.add(self.steps_done, loss)
                self._progress.tell("train", epoch, task.name, step, steps, self.steps_done)
        usage = measured.row.usage
        if usage is not None and usage.peak_allocated_mib is not None:
            self._peak_mib = max(usage.peak_allocated_mib, self._peak_mib or 0.0)
        return measured.row

    def _step(self, task: TaskSpec, batch: Batch) -> Tensor:
        loss = loss_of(task, self.model(batch), batch.labels)
        penalty = self.model.method.penalty(task.name)
        self.optimizer.zero_grad(set_to_none=True)
        (loss if penalty is None else loss + penalty).backward()
        self.optimizer.step()
        self.model.method.after_step(task.name)
        return loss.detach()

    def _finish_epoch(self, epoch: int, phases: list[Phase]) -> None:
        scores: list[Score] = []
        dev: dict[str, Evaluation] = {}
        for task in self.spec.tasks:
            for split in SPLITS:
                result, measured = self._evaluate(epoch, task, split)
                phases += measured
                scores.append(
                    Score(
                        epoch,
                        task.name,
                        split,
                        result.metric.name,
                        result.metric.value,
                        result.metric.reason,
                        result.loss,
                        len(result.rows),
                    )
                )
                if split == "dev":
                    dev[task.name] = result
        metrics = {name: result.metric for name, result in dev.items()}
        missing = [f"{name}: {metric.reason}" for name, metric in metrics.items() if metric.value is None]
        summary = Epoch(
            epoch,
            dev_average([metric.value for metric in metrics.values()]),
            leaderboard({name: (metric.name, metric.value) for name, metric in metrics.items()}),
            "; ".join(missing) or None,
            now(),
        )
        self.best.offer(epoch, summary.dev_avg)
        if self.independent_tasks:
            for name, metric in metrics.items():
                self.best.offer_task(name, epoch, metric.value)
        phases.append(self._save(epoch))
        self.recorder.epoch(
            summary,
            scores,
            phases,
            best_epoch=self.best.epoch,
            task_bests=tuple(self.best.tasks.values()),
            predictions=self._predictions(epoch, dev),
        )
        remove_others(self.folder, self._kept())

    def _batcher(
        self, epoch: int, task: TaskSpec, name: str, split: EncodedSplit, *, training: bool
    ) -> tuple[MakeBatch, list[Phase]]:
        """Return what makes the split's batches, and the phase of computing its prefix if that was done now."""
        key = f"{task.name} {name}"
        if self.prefixes.is_settled(key, training=training):
            return self.prefixes.batcher(key, split, training=training)[0], []

        def tell(done: int) -> None:
            self._progress.tell(f"prefix {name}", epoch, task.name, done, len(split), self.steps_done)

        with self.meters.phase("prefix", epoch, task.name, name) as measured:
            batcher, made = self.prefixes.batcher(key, split, training=training, on_batch=tell)
            measured.count(len(split), int(split.lengths.sum()))
        self.recorder.note("prefix", f"{task.name} {name}: {made}")
        # where there was no room to keep it, nothing was computed
        return batcher, [] if batcher is self.prefixes.plain else [measured.row]

    def _evaluate(self, epoch: int, task: TaskSpec, split: str) -> tuple[Evaluation, list[Phase]]:
        encoded = self.samples[task.name] if split == "train" else self.data[task.name].dev
        name = "train sample" if split == "train" else split
        batcher, phases = self._batcher(epoch, task, name, encoded, training=False)
        rows = np.arange(len(encoded))
        with self.meters.phase("eval", epoch, task.name, split) as measured:
            result = evaluate(
                self.model,
                task,
                encoded,
                rows,
                self.spec.eval.batch_size,
                batcher,
                lambda done: self._progress.tell(f"eval {split}", epoch, task.name, done, len(rows), self.steps_done),
            )
            measured.count(len(rows), int(encoded.lengths[rows].sum()))
        if not math.isfinite(result.loss):
            raise diverged(f"the {split} loss of task {task.name} is {result.loss} after epoch {epoch}", self.spec)
        return result, [*phases, measured.row]

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

    def _kept(self) -> set[Path]:
        kept = {checkpoint_path(self.folder, best.epoch, task) for task, best in self.best.tasks.items()}
        return kept | ({checkpoint_path(self.folder, self.best.epoch)} if self.best.epoch else set())

    def _predictions(self, epoch: int, dev: Mapping[str, Evaluation]) -> list[Prediction]:
        """Return this epoch's dev predictions of the tasks for which it is the best, by average or by itself."""
        return [
            Prediction(task, epoch, split.example_ids[row], float(split.labels[row]), float(prediction))
            for task, result in dev.items()
            if epoch in (self.best.epoch, self.best.tasks[task].epoch if task in self.best.tasks else None)
            for split in (self.data[task].dev,)
            for row, prediction in zip(result.rows, result.predictions, strict=True)
        ]
