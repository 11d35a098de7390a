"""The six submission files of the course (CS224N default project), byte for byte in its format.

For each of its three tasks and for dev and test: a header, then a row per example in the order of the data file, as
written by the course's program (spaces, a tab only in the header, and the spelling "Similiary"):

    id \\t Predicted_Sentiment
    0123456789abcdef012345678 , 3
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from peftbench.data.examples import Example
from peftbench.data.load import load_every_dev_row, load_split, load_test
from peftbench.errors import MissingError, PeftbenchError, UsageError
from peftbench.metrics.value import Metric
from peftbench.spec.model import RunSpec
from peftbench.store.conditions import label_names
from peftbench.tasks import TaskKind, TaskSpec
from peftbench.text import clean
from peftbench.training.inputs import RecordedInputs
from peftbench.training.metrics import DECIMALS, score
from peftbench.training.predictor import TextPrediction, predict

SPLITS: tuple[Literal["dev"], Literal["test"]] = ("dev", "test")


@dataclass(frozen=True, slots=True)
class FileFormat:
    """The course's file name and column name of a task, and the kind of the task."""

    file: str
    column: str
    kind: TaskKind


FILE_FORMATS = {
    "sst": FileFormat("sst", "Predicted_Sentiment", "classes"),
    "paraphrase": FileFormat("para", "Predicted_Is_Paraphrase", "binary"),
    "sts": FileFormat("sts", "Predicted_Similiary", "similarity"),
}


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """A file to write: its name, task, split and examples."""

    name: str
    task: TaskSpec
    split: str
    examples: Sequence[Example]


@dataclass(frozen=True, slots=True)
class SubmissionFile:
    """A file's content, and the score of its predictions over the labelled rows (None if there are none)."""

    name: str
    task: str
    split: str
    rows: int
    labelled: int
    content: bytes
    score: Metric | None


def expected_files(spec: RunSpec, recorded: RecordedInputs) -> tuple[list[ExpectedFile], list[str]]:
    """Return the files that can be written for a run, and the reason for each one that cannot.

    Raises:
        ChangedError: the dev examples differ from those of the run.
        UsageError: a task with a name of the course has a different kind.
        DataError: a data file exists but cannot be used.
    """
    available: list[ExpectedFile] = []
    missing: list[str] = []
    for name, form in FILE_FORMATS.items():
        task = spec.task(name)
        if task is None:
            missing.append(f"{form.file}-dev-output.csv, {form.file}-test-output.csv: the run has no task {name}")
            continue
        if task.kind != form.kind:
            raise UsageError(f"task {name} is of kind '{task.kind}'; the course expects kind '{form.kind}'")
        for split in SPLITS:
            file = f"{form.file}-{split}-output.csv"
            try:
                examples = (
                    _dev(task, recorded)
                    if split == "dev"
                    else load_test(task, label_names(recorded.conditions, task.name))
                )
                available.append(ExpectedFile(file, task, split, examples))
            except MissingError as error:
                missing.append(f"{file}: {error.message}")
    return available, missing


def _dev(task: TaskSpec, recorded: RecordedInputs) -> Sequence[Example]:
    """Return every row of the dev split, including rows that training skipped: the course expects their ids too."""
    names = label_names(recorded.conditions, task.name)
    recorded.check_data(f"{task.name}/dev", load_split(task, "dev", names).fingerprint)
    return load_every_dev_row(task, names)


def predicted(
    spec: RunSpec, wanted: ExpectedFile, folder: Path, epoch: int, *, own: bool, recorded: RecordedInputs
) -> SubmissionFile:
    """Predict one file's examples.

    Args:
        spec: spec of the run.
        wanted: the file.
        folder: folder of the run, with its checkpoints.
        epoch: the epoch whose weights are used.
        own: use the best weights of the task rather than those of the best average.
        recorded: the inputs that the run was trained with.

    Raises:
        MissingError: the encoder or the trained weights are not available.
        ChangedError: they differ from those of the run.
        PeftbenchError: a prediction is not a finite number.
    """
    task, examples = wanted.task, wanted.examples
    predictions = predict(
        spec, task, [example.texts for example in examples], folder, epoch, own=own, recorded=recorded
    )
    values = [row.number for row in predictions]
    all_finite(wanted, predictions)
    labels = np.array([example.label for example in examples])
    labelled = ~np.isnan(labels)
    of_one = np.array([_of_label_one(row) for row in predictions])
    known = score(task, np.array(values)[labelled], labels[labelled], of_one[labelled]) if labelled.any() else None
    return SubmissionFile(
        *(wanted.name, task.name, wanted.split, len(values), int(labelled.sum())),
        content(task.name, {example.id: value for example, value in zip(examples, values, strict=True)}),
        known,
    )


def _of_label_one(row: TextPrediction) -> float:
    """Return the probability of label 1 of a binary prediction, as a run stores it; NaN of other kinds."""
    if not isinstance(row.probability, float):
        return math.nan
    return round(row.probability if row.number else 1 - row.probability, DECIMALS)


def all_finite(wanted: ExpectedFile, predictions: Sequence[TextPrediction]) -> None:
    """Refuse non-finite predictions: even from NaN logits a class could be chosen.

    Raises:
        PeftbenchError: a prediction or probability is not finite.
    """
    known = [(row.number, *([row.probability] if isinstance(row.probability, float) else [])) for row in predictions]
    bad = [at for at, pair in enumerate(known) if not all(map(math.isfinite, pair))]
    if bad:
        raise PeftbenchError(
            f"{wanted.name}: {len(bad):,} of {len(predictions):,} predictions are not finite numbers, "
            f"the first of id {clean(wanted.examples[bad[0]].id)}",
            "nothing was written; the run has diverged: train it again with a smaller learning rate",
        )


def content(task: str, predictions: Mapping[str, float]) -> bytes:
    """Return a file's bytes: classes as integers, binary labels as 0.0 and 1.0, scores with all float32 digits."""
    form = FILE_FORMATS[task]
    lines = [f"id \t {form.column} \n"]
    lines += [f"{clean(example_id)} , {_value(form.kind, value)} \n" for example_id, value in predictions.items()]
    return "".join(lines).encode()


def _value(kind: TaskKind, value: float) -> str:
    """Format a value as the course's f-string does, which prints a numpy float32 like a Python float."""
    return str(int(value)) if kind == "classes" else str(float(np.float32(value)))
