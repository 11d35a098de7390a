"""The six files of predictions that the course (CS224N default project) takes, in its form to the byte.

For each of its three tasks, of dev and test: a header, then a row for each example in the order of the data's file, as
its program writes them (blanks, a tab in the header alone, and "Similiary" spelt so):

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
from peftbench.data.load import load_split, load_test
from peftbench.errors import MissingError, UsageError
from peftbench.spec.model import RunSpec
from peftbench.tasks import TaskKind, TaskSpec
from peftbench.text import clean
from peftbench.training.metrics import Metric, score
from peftbench.training.predictor import predict

SPLITS: tuple[Literal["dev"], Literal["test"]] = ("dev", "test")


@dataclass(frozen=True, slots=True)
class Form:
    """How the course names a task's files and its column, and what kind of task it is."""

    file: str
    column: str
    kind: TaskKind


FORMS = {
    "sst": Form("sst", "Predicted_Sentiment", "classes"),
    "paraphrase": Form("para", "Predicted_Is_Paraphrase", "binary"),
    "sts": Form("sts", "Predicted_Similiary", "similarity"),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to be made: its name, its task, split and examples."""

    name: str
    task: TaskSpec
    split: str
    examples: Sequence[Example]


@dataclass(frozen=True, slots=True)
class Made:
    """A file's content, and the score of its predictions where every example has a label."""

    name: str
    task: str
    split: str
    rows: int
    content: bytes
    score: Metric | None


def wanted_files(spec: RunSpec) -> tuple[list[Wanted], list[str]]:
    """Return the files that a run can make, and for each that it cannot, why.

    Raises:
        UsageError: a task has a name of the course's and is of another kind.
        DataError: a file of data is there and cannot be used.
    """
    found: list[Wanted] = []
    missing: list[str] = []
    for name, form in FORMS.items():
        task = spec.task(name)
        if task is None:
            missing.append(f"{form.file}-dev-output.csv, {form.file}-test-output.csv: the run has no task {name}")
            continue
        if task.kind != form.kind:
            raise UsageError(f"task {name} is of kind '{task.kind}'; the course's is of kind '{form.kind}'")
        for split in SPLITS:
            file = f"{form.file}-{split}-output.csv"
            try:
                examples = load_split(task, "dev").examples if split == "dev" else load_test(task)
                found.append(Wanted(file, task, split, examples))
            except MissingError as error:
                missing.append(f"{file}: {error.message}")
    return found, missing


def predicted(spec: RunSpec, wanted: Wanted, folder: Path, epoch: int, *, own: bool) -> Made:
    """Predict one file's examples.

    Args:
        spec: the run's.
        wanted: the file.
        folder: the run's, with its checkpoints.
        epoch: whose weights.
        own: take the task's own best weights rather than those of the best average.

    Raises:
        MissingError: the encoder or the trained weights cannot be had.
    """
    task, examples = wanted.task, wanted.examples
    found = predict(spec, task, [example.texts for example in examples], folder, epoch, own=own)
    values = [row.prediction for row in found]
    labels = [example.label for example in examples]
    known = None
    if not any(map(math.isnan, labels)):
        known = score(task, np.array(values), np.array(labels))
    return Made(
        *(wanted.name, task.name, wanted.split, len(values)),
        content(task.name, {example.id: value for example, value in zip(examples, values, strict=True)}),
        known,
    )


def content(task: str, predictions: Mapping[str, float]) -> bytes:
    """Return a file's bytes: classes as whole numbers, 0.0 and 1.0, scores with every digit of their float32."""
    form = FORMS[task]
    lines = [f"id \t {form.column} \n"]
    lines += [f"{clean(example_id)} , {_value(form.kind, value)} \n" for example_id, value in predictions.items()]
    return "".join(lines).encode()


def _value(kind: TaskKind, value: float) -> str:
    """Write a value as the course's f-string does: a numpy float32 in one is written as a Python float is."""
    return str(int(value)) if kind == "classes" else str(float(np.float32(value)))
