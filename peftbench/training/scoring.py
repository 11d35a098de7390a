"""Evaluation after an epoch: every task is scored on dev and on a fixed part of its training split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from peftbench.analysis.scores import average_of, leaderboard
from peftbench.analysis.time_left import INTERIM_PHASE
from peftbench.data.encode import EncodedSplit
from peftbench.data.load import SPLITS
from peftbench.meters.session import MeterSession
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.store.rows import Epoch, HeldOutResult, InterimScore, Label, Phase, Prediction, Score, ScoredSplit, now
from peftbench.tasks import TaskSpec
from peftbench.training.batching import Batchers, TaskData
from peftbench.training.best import Best
from peftbench.training.divergence import diverged
from peftbench.training.evaluation import Evaluation, evaluate, train_sample, with_threshold
from peftbench.training.metrics import label_sets
from peftbench.training.progress import ProgressReporter
from peftbench.training.sampling import fixed_rows
from peftbench.training.stepper import Stepper
from peftbench.training.threshold import Thresholds, fixed, threshold_of


@dataclass(frozen=True, slots=True)
class Scored:
    """An epoch's scores, the phases of computing them, and each task's evaluation on dev."""

    summary: Epoch
    scores: tuple[Score, ...]
    phases: tuple[Phase, ...]
    dev: Mapping[str, Evaluation]


class Scorer:
    """Scores a model after an epoch.

    Args:
        spec: the run's spec.
        model: the model being trained.
        data: the splits of every task.
        batchers: make their batches.
        stepper: provides the steps done and their learning rates.
        meters: measure the evaluation.
        progress: receives its progress.
    """

    def __init__(
        self,
        spec: RunSpec,
        model: MultitaskModel,
        data: Mapping[str, TaskData],
        batchers: Batchers,
        stepper: Stepper,
        meters: MeterSession,
        progress: ProgressReporter,
    ) -> None:
        self.spec, self.model, self.data = spec, model, data
        self.batchers, self.stepper, self.meters, self.progress = batchers, stepper, meters, progress
        self.thresholds: Thresholds = {}  # of the tasks whose threshold is tuned, of each epoch
        self.samples = {
            name: each.train.take(train_sample(name, each.originals, spec.eval.train_examples))
            for name, each in data.items()
        }
        self.dev_samples = {
            name: each.dev.take(fixed_rows("dev-sample", name, len(each.dev), spec.eval.dev_examples))
            for name, each in (data.items() if spec.eval.every is not None else ())
        }

    def parts(self) -> list[tuple[str, str, int]]:
        """Return task, split and examples of each part of an evaluation, in order."""
        return [(task.name, split, len(self._split(task.name, split))) for task in self.spec.tasks for split in SPLITS]

    def score(self, epoch: int) -> Scored:
        """Score every task.

        Raises:
            TrainingError: a loss is not finite.
            Interrupted: see `Recorder.progress`.
        """
        scores: list[Score] = []
        phases: list[Phase] = []
        dev: dict[str, Evaluation] = {}
        for task in self.spec.tasks:
            made: dict[str, Evaluation] = {}
            for split in SPLITS:
                threshold = None if split == "dev" and task.threshold == "tuned" else fixed(task)
                made[split], measured = self._evaluate(epoch, task, split, self._split(task.name, split), threshold)
                phases += measured
            dev[task.name] = made["dev"]
            if task.threshold == "tuned":
                own = made["dev"].threshold
                self.thresholds.setdefault(task.name, {})[str(epoch)] = own
                made["train"] = with_threshold(made["train"], task, self._split(task.name, "train"), own)
            scores += [_score(epoch, task, split, evaluation) for split, evaluation in made.items()]
        return Scored(_summary(epoch, dev), tuple(scores), tuple(phases), dev)

    def interim(self, epoch: int, tasks: Sequence[TaskSpec]) -> tuple[list[InterimScore], list[Phase]]:
        """Score tasks on the fixed part of dev, within an epoch; the last task's adapters stay switched on.

        Raises:
            TrainingError, Interrupted: as for `score`.
        """
        scores: list[InterimScore] = []
        phases: list[Phase] = []
        for task in tasks:
            threshold = None if task.threshold == "tuned" else fixed(task)
            sample = self.dev_samples[task.name]
            evaluation, measured = self._evaluate(epoch, task, "dev", sample, threshold, interim=True)
            phases += measured
            metric = evaluation.metric
            of = (metric.name, metric.value, metric.reason, evaluation.loss, len(evaluation.rows))
            scores.append(InterimScore(self.stepper.steps_done, epoch, task.name, *of))
        return scores, phases

    def held_out(self, epoch: int, tests: Mapping[str, EncodedSplit]) -> HeldOutResult:
        """Score every task on its test split, with the weights of an epoch that the model already has.

        Raises:
            TrainingError, Interrupted: as for `score`.
        """
        scores: list[Score] = []
        phases: list[Phase] = []
        rows: list[Prediction] = []
        for task in self.spec.tasks:
            threshold = threshold_of(task, {"thresholds": self.thresholds}, epoch)
            evaluation, measured = self._evaluate(epoch, task, "test", tests[task.name], threshold)
            phases += [replace(phase, epoch=None) for phase in measured]  # of the run, not of an epoch's cost
            scores.append(_score(epoch, task, "test", evaluation))
            rows += _predictions(epoch, task.name, "test", tests[task.name], evaluation)
        return HeldOutResult(epoch, scores, phases, rows)

    def _split(self, task: str, split: str) -> EncodedSplit:
        return self.samples[task] if split == "train" else self.data[task].dev

    def _evaluate(
        self,
        epoch: int,
        task: TaskSpec,
        split: str,
        encoded: EncodedSplit,
        threshold: float | None,
        *,
        interim: bool = False,
    ) -> tuple[Evaluation, list[Phase]]:
        name = f"{split} sample" if split == "train" or interim else split
        phase = INTERIM_PHASE if interim else "eval"
        done = self.stepper.steps_done
        batcher, phases = self.batchers.of(name, encoded, epoch=epoch, task=task.name, done=done, training=False)
        rows = np.arange(len(encoded))
        with self.meters.phase(phase, epoch, task.name, split) as measured:
            result = evaluate(
                self.model,
                task,
                encoded,
                rows,
                self.spec.eval.batch_size,
                batcher,
                lambda scored: self.progress.tell(f"{phase} {split}", epoch, task.name, scored, len(rows), done),
                self.data[task.name].scale,
                threshold,
            )
            measured.count(len(rows), int(encoded.lengths[rows].sum()))
        if not math.isfinite(result.loss):
            when = "within" if interim else "after"
            what = f"the {split} loss of task {task.name} is {result.loss} {when} epoch {epoch} (step {done})"
            raise diverged(what, self.spec, self.stepper.rates())
        return result, [*phases, measured.row]


def _score(epoch: int, task: TaskSpec, split: str, evaluation: Evaluation) -> Score:
    metric = evaluation.metric
    return Score(
        *(epoch, task.name, split, metric.name, metric.value, metric.reason), evaluation.loss, len(evaluation.rows)
    )


def _summary(epoch: int, dev: Mapping[str, Evaluation]) -> Epoch:
    metrics = {name: result.metric for name, result in dev.items()}
    missing = [f"{name}: {metric.reason}" for name, metric in metrics.items() if metric.value is None]
    values = {name: (metric.name, metric.value) for name, metric in metrics.items()}
    return Epoch(
        epoch,
        average_of(values),
        leaderboard(values),
        "; ".join(missing) or None,
        now(),
    )


def predictions(epoch: int, scored: Scored, data: Mapping[str, TaskData], best: Best) -> list[Prediction]:
    """Return an epoch's dev predictions for the tasks of which it is the best, by average or by the task's metric."""
    return [
        row
        for task, evaluation in scored.dev.items()
        if best.is_best(task, epoch)
        for row in _predictions(epoch, task, "dev", data[task].dev, evaluation)
    ]


def _predictions(
    epoch: int, task: str, split: ScoredSplit, encoded: EncodedSplit, evaluation: Evaluation
) -> list[Prediction]:
    labels, outputs = _stored(encoded, evaluation)
    of_labels = [None] * len(outputs) if evaluation.probabilities is None else evaluation.probabilities.tolist()
    return [
        Prediction(
            *(task, epoch, encoded.example_ids[row], label, output),
            cluster=None if encoded.clusters is None else encoded.clusters[row],
            split=split,
            probabilities=tuple(own) if isinstance(own, list) else own,
        )
        for row, label, output, own in zip(evaluation.rows, labels, outputs, of_labels, strict=True)
    ]


def _stored(encoded: EncodedSplit, evaluation: Evaluation) -> tuple[Sequence[Label], Sequence[Label]]:
    """Return the labels and predictions of the scored rows in the form of the store."""
    rows, words = evaluation.rows, encoded.words
    if words is not None:
        return words.of(rows), words.tagged(rows, evaluation.predictions)
    labels, outputs = encoded.labels[rows], evaluation.predictions
    if labels.ndim == 2:
        return label_sets(labels), label_sets(outputs)
    given = labels if encoded.unscaled is None else encoded.unscaled[rows]
    return given.tolist(), outputs.tolist()
