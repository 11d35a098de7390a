"""The study's training: each epoch takes the tasks one after another, then scores every one of them.

    for each epoch:
        for each task, in the workload's order:
            switch to its adapters; one AdamW step a batch (or a few batches), in random order
        score every task on dev and on a fixed part of train; keep the best epoch

Everything random comes from the run's seed through streams of its own (`seeds`), so that on the CPU the
same spec gives the same metrics to the last bit: also when it is stopped anywhere, and goes on from a snapshot.
Where it stands is `position`, and `state` is all that the rest of the run depends on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peftbench.data.batches import Batcher, MakeBatch
from peftbench.errors import Interrupted
from peftbench.meters.session import MeterSession
from peftbench.model import MultitaskModel
from peftbench.seeds import derive_seed
from peftbench.spec.model import RunSpec
from peftbench.store.rows import Phase
from peftbench.tasks import TaskSpec
from peftbench.training.batching import Batchers, TaskData
from peftbench.training.best import Best
from peftbench.training.checkpoint import checkpoint_path, remove_others, save_weights
from peftbench.training.choice import step_rows
from peftbench.training.files import when_there_is_room
from peftbench.training.losses import LossCurve
from peftbench.training.memory import StepMemory
from peftbench.training.pace import ProgressTeller
from peftbench.training.plan import Plan
from peftbench.training.recorder import Recorder
from peftbench.training.scoring import Scorer, predictions
from peftbench.training.snapshot import (
    KEPT,
    Position,
    Snapshot,
    Snapshots,
    phases_from,
    phases_state,
    random_state,
    restore_random,
)
from peftbench.training.stepper import Stepper

WARMUP_STEPS = 10  # the first steps of each process: trained on, but not timed


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
        inputs: hash of the data and the pretrained weights, which no spec knows.
        snapshots: of this run, to write.
        found: the one to go on from.
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
        inputs: str,
        snapshots: Snapshots,
        found: Snapshot | None = None,
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
        self.inputs, self.snapshots, self._found = inputs, snapshots, found
        self.position = Position(1, 0, 0)
        self.best = Best()
        self.losses: LossCurve | None = None  # of the task in training
        self.phases: list[Phase] = []  # of the epoch in training
        self.steps_here = 0  # optimiser steps of this process
        self._peak_mib: float | None = None  # of torch's allocator, in training
        self._needed: deque[set[Path]] = deque(maxlen=KEPT)  # the best weights that each snapshot speaks of

    def run(self) -> str | None:
        """Train every epoch, from where a snapshot left it; return why it ended before those asked for, or None.

        Raises:
            TrainingError: the loss is no longer a number.
            Interrupted: the recorder was asked to stop; a snapshot keeps all that was done.
        """
        with self.recorder.deferred():
            self._resume()
            try:
                while not self._is_over():
                    self._train_epoch()
                    self._finish_epoch()
            except Interrupted:
                self.snapshots.write(self.state())
                raise
        remove_others(self.folder, self.best.files(self.folder))
        return self._stopped_early() or self.plan.shortened()

    def _is_over(self) -> bool:
        return self.position.epoch > self.plan.epochs or self._stopped_early() is not None

    def _stopped_early(self) -> str | None:
        done = self.position.epoch - 1
        return self.best.stopped(self.spec.train.patience, done) if done < self.spec.train.epochs else None

    def measured_memory(self) -> dict[str, int | None] | None:
        """Return the anatomy of a training step, in bytes by part, measured once training is over.

        None where this process took no step: there are no gradients then to measure.
        """
        if not self.steps_here:
            return None
        peak = None if self._peak_mib is None else round(self._peak_mib * 2**20)
        return self.memory.measured(self.stepper.optimizer, self.batchers.prefixes, peak)

    def _train_epoch(self) -> None:
        epoch = self.position.epoch
        for place in range(self.position.task, len(self.spec.tasks)):
            self._train_task(epoch, self.spec.tasks[place])
            self.position = Position(epoch, place + 1, 0)

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
        if self.position.step == 0 or self.losses is None:
            torch.manual_seed(derive_seed(self.spec.seed, "dropout", epoch, task.name))
            self.losses = LossCurve(task.name, self.spec, self.stepper.rates)
        rows = islice(step_rows(self.spec, epoch, task.name, split.lengths), self.position.step, steps)
        while self.position.step < steps:
            self._steps(task, rows, steps, batcher, self.losses)
            if self.snapshots.is_due():
                self.phases.append(self._snapshot(epoch))
        self.recorder.losses(epoch, task.name, self.losses.finish(self.stepper.steps_done))

    def _steps(
        self, task: TaskSpec, rows: Iterator[list[np.ndarray]], steps: int, batcher: MakeBatch, losses: LossCurve
    ) -> None:
        """Train as one phase, until its end, a stop, or a snapshot that is due; only what is in a step is its time."""
        split, left = self.data[task.name].train, WARMUP_STEPS - self.steps_here
        name, most = ("warmup", left) if left > 0 else ("train", steps)
        stop: Interrupted | None = None
        with self.meters.phase(name, self.position.epoch, task.name, "train") as measured:
            for parts in islice(rows, most):
                batches = [batcher(split, each) for each in parts]
                with measured.steps:
                    loss = self.stepper.step(task, batches)
                measured.count(sum(map(len, parts)), sum(batch.tokens for batch in batches))
                self.steps_here += 1
                self.position = self.position._replace(step=self.position.step + 1)
                losses.add(self.stepper.steps_done, loss)
                try:
                    self._tell(task, steps)
                except Interrupted as error:
                    stop = error
                if stop is not None or self.snapshots.is_due():
                    break
        self.phases.append(measured.row)
        usage = measured.row.usage
        if usage is not None and usage.peak_allocated_mib is not None:
            self._peak_mib = max(usage.peak_allocated_mib, self._peak_mib or 0.0)
        if stop is not None:
            raise stop

    def _tell(self, task: TaskSpec, steps: int) -> None:
        epoch, _, step = self.position
        self.progress.tell("train", epoch, task.name, step, steps, self.stepper.steps_done)

    def _finish_epoch(self) -> None:
        epoch = self.position.epoch
        scored = self.scorer.score(epoch)
        self.best.offer(epoch, scored.summary.dev_avg)
        if self.independent_tasks:
            for name, result in scored.dev.items():
                self.best.offer_task(name, epoch, result.metric.value)
        saved = self._save(epoch)
        self.recorder.epoch(
            scored.summary,
            scored.scores,
            [*self.phases, *scored.phases, saved],
            best_epoch=self.best.epoch,
            task_bests=tuple(self.best.tasks.values()),
            predictions=predictions(epoch, scored, self.data, self.best),
        )
        self.position, self.phases, self.losses = Position(epoch + 1, 0, 0), [], None
        self.recorder.phases([self._snapshot(None)])
        remove_others(self.folder, self.best.files(self.folder).union(*self._needed))

    def _save(self, epoch: int) -> Phase:
        """Write what this epoch is the best of, before the store says so."""
        tasks: list[str | None] = [task for task, best in self.best.tasks.items() if best.epoch == epoch]
        with self.meters.phase("checkpoint", epoch) as measured:
            for task in [None, *tasks] if self.best.epoch == epoch else tasks:
                path = checkpoint_path(self.folder, epoch, task)
                write = partial(save_weights, self.model.saved(task), path, self.spec.hash())
                when_there_is_room(write, self.recorder.note)
        return measured.row

    def _snapshot(self, epoch: int | None) -> Phase:
        with self.meters.phase("checkpoint", epoch) as measured:
            if self.snapshots.write(self.state()):
                self._needed.append(self.best.files(self.folder))
        return measured.row

    def state(self) -> dict[str, Any]:
        """Return all that the rest of the run depends on, in tensors and plain containers."""
        energy_j = self.meters.meter.energy_so_far_j()
        return {
            "inputs": self.inputs,
            "made_with": _surroundings(self.model),
            "threads": torch.get_num_threads(),
            "position": tuple(self.position),
            "weights": {name: weight.detach() for name, weight in self.model.saved().items()},
            "stepper": self.stepper.state(),
            "method": self.model.method.state(),
            "best": self.best.state(),
            "losses": None if self.losses is None else self.losses.state(),
            "phases": phases_state(self.phases),
            "random": random_state(),
            "energy_j": energy_j if isinstance(energy_j, float) else None,
            "peak_mib": self._peak_mib,
        }

    def _resume(self) -> None:
        """Go on from the snapshot that was found, if it is of the same data and weights."""
        if self._found is None:
            self.recorder.from_the_beginning()
            return
        name, state = self._found.name, self._found.state
        self._found = None
        if (why := self._why_unfit(state)) is not None:
            self.meters.meter.energy_before_j = 0.0
            self.recorder.note("resume", f"from the beginning: {name} cannot be used: {why}")
            self.recorder.from_the_beginning()
            return
        for key, weight in self.model.saved().items():
            weight.data.copy_(state["weights"][key])
        self.stepper.load_state(state["stepper"])
        self.model.method.load_state(state["method"])
        self.best = Best.from_state(state["best"])
        self._needed.append(self.best.files(self.folder))
        if state["losses"] is not None:
            device = next(self.model.heads.parameters()).device
            self.losses = LossCurve.from_state(state["losses"], self.spec, self.stepper.rates, device)
        self.phases = phases_from(state["phases"])
        self.position, self._peak_mib = Position(*state["position"]), state["peak_mib"]
        restore_random(state["random"])
        self.recorder.note("resume", f"from {self._place()} ({name})")
        if (here := _surroundings(self.model)) != state["made_with"]:
            self.recorder.note("resume", f"{name} was made with {state['made_with']}, here is {here}: bits may differ")

    def _why_unfit(self, state: Mapping[str, Any]) -> str | None:
        if state["inputs"] != self.inputs:
            return "the data or the encoder's weights have changed since"
        ours, theirs = self.model.saved(), state["weights"]
        if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
            return "its weights are not this model's"
        return None

    def _place(self) -> str:
        epoch, task, step = self.position
        if self._is_over():
            return f"the end of epoch {epoch - 1}"
        if task == len(self.spec.tasks):
            return f"epoch {epoch}, evaluation"
        return f"epoch {epoch}, {self.spec.tasks[task].name}, step {step}"


def _surroundings(model: MultitaskModel) -> str:
    """Return what else bits depend on, beside the number of threads."""
    return f"torch {torch.__version__} on {next(model.heads.parameters()).device.type}"
