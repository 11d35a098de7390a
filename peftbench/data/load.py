"""Load the examples of a task from the source given in its workload."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from peftbench.data.examples import Example, fingerprint
from peftbench.data.labels import Names
from peftbench.data.rows import RowCount, SourceRow, to_examples, to_predict
from peftbench.errors import DataError, MissingError
from peftbench.store.conditions import SplitReading
from peftbench.tasks import SEVERAL_LABELS, FilesSource, HubSource, TaskKind, TaskSpec
from peftbench.text import clean

SplitName = Literal["train", "dev", "test"]
SPLITS: tuple[SplitName, SplitName] = ("train", "dev")  # scored after every epoch


@dataclass(frozen=True, slots=True)
class Split:
    """One split of one task: its examples in source order, and their fingerprint.

    label_names: the names of classes, labels or tags, if the source's labels are names.
    kind: of the task.
    reading: how the files were read: separator, quoting, encoding, rows.
    """

    task: str
    name: SplitName
    examples: tuple[Example, ...]
    count: RowCount
    fingerprint: str
    label_names: Names | None = None
    reading: SplitReading = field(default_factory=SplitReading)
    kind: TaskKind = "classes"


def load_split(task: TaskSpec, split: SplitName, label_names: Names | None = None) -> Split:
    """Read one split of a task.

    Args:
        task: defines the source.
        split: the split; `test` with its labels, as runs read it (to predict it, `load_test`).
        label_names: the class names of the training split, if known; otherwise they are read from it.

    Raises:
        MissingError: the file or data set does not exist.
        DataError: it exists but is not usable; the message names file and line.
    """
    source = task.source
    if not isinstance(source, FilesSource | HubSource):
        examples = _generated(task, split)
        names = task.labels if task.kind in SEVERAL_LABELS else None
        count = RowCount(read=len(examples))
        return Split(task.name, split, tuple(examples), count, fingerprint(examples), names, kind=task.kind)
    task, rows, where, reading = _rows(task, source, split, (*task.text, task.label))
    names_of = None if split == "train" else _train_label_names(task, label_names)
    examples, count, names = to_examples(task, rows, where, names_of)
    return Split(task.name, split, tuple(examples), count, fingerprint(examples), names, reading(), task.kind)


def load_test(task: TaskSpec, label_names: Names | None = None) -> tuple[Example, ...]:
    """Read the test file to predict, in file order; missing labels are NaN.

    Raises:
        MissingError: the source names no test file, or it does not exist.
        DataError: it exists but is not usable; the message names file and line.
    """
    source = task.source
    if not isinstance(source, FilesSource) or source.test is None:
        raise MissingError(
            f"task {task.name}: the source names no test file",
            f"name one: --set tasks.{task.name}.source.test=FILE, or in the workload file",
        )
    task, rows, where, _ = _rows(task, source, "test", task.text)
    return tuple(to_predict(task, rows, where, _train_label_names(task, label_names)))


def load_every_dev_row(task: TaskSpec, label_names: Names | None = None) -> tuple[Example, ...]:
    """Read the dev split including rows that training skips: missing labels are NaN, missing texts are empty.

    Raises:
        MissingError, DataError: see `load_split`.
    """
    source = task.source
    if not isinstance(source, FilesSource | HubSource):
        return tuple(_generated(task, "dev"))
    task, rows, where, _ = _rows(task, source, "dev", task.text)
    return tuple(to_predict(task, rows, where, _train_label_names(task, label_names)))


def _train_label_names(task: TaskSpec, known: Names | None) -> Callable[[], Names]:
    return lambda: known or load_split(task, "train").label_names or ()


def _rows(
    task: TaskSpec, source: FilesSource | HubSource, split: str, columns: tuple[str, ...]
) -> tuple[TaskSpec, Iterable[SourceRow], str, Callable[[], SplitReading]]:
    """Return a split's rows, its name for messages, and a function that describes the reading once it is done.

    They follow the task, with the class names that the source itself gives its labels where the task names none.
    """
    if isinstance(source, HubSource):
        from peftbench.data.sources import hub

        loaded = hub.read_split(task, source, split)
        if task.labels is None and loaded.label_names is not None:
            task = task.model_copy(update={"labels": loaded.label_names})
        return task, loaded.rows, f"{hub.named(source)} {split}", lambda: loaded.reading
    from peftbench.data.sources import files

    shards = files.split_paths(task, source, split)
    readings: dict[str, files.FileReading] = {}
    where = clean(shards[0].path if not shards[0].name else shards[0].path.parent, 300)
    return task, files.read_shards(shards, source, columns, readings), where, lambda: files.described(readings)


def _generated(task: TaskSpec, split: SplitName) -> list[Example]:
    from peftbench.data import quickstart
    from peftbench.tasks import QuickstartSource

    source = task.source
    assert isinstance(source, QuickstartSource)
    size = {"train": source.train, "dev": source.dev, "test": source.test}[split]
    assert size is not None, "the spec was validated with a test split"
    kind, labels = quickstart.SEVERAL.get(task.name, (task.kind, task.labels))
    if (task.kind, task.labels) != (kind, labels) or (task.kind in SEVERAL_LABELS) != (task.name in quickstart.SEVERAL):
        raise DataError(
            f"task {task.name}: the generated data are not of kind '{task.kind}' with the labels of the workload",
            "use the workload quickstart-tasks, whose tasks of several labels are entities and topics",
        )
    if task.sample_weight:
        raise DataError(
            f"task {task.name}: generated data have no column '{clean(task.sample_weight, 40)}' of weights",
            f'set tasks.{task.name}.sample_weight=""',
        )
    noise = {} if source.label_noise is None else {"label_noise": source.label_noise}
    return quickstart.generate(task.name, split, size, seed=source.seed, **noise)
