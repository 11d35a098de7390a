"""The examples of a task, from whichever source its workload names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from peftbench.data.examples import Example, fingerprint
from peftbench.data.rows import RowCount, to_examples, to_predict
from peftbench.errors import MissingError
from peftbench.tasks import FilesSource, HubSource, TaskSpec

SplitName = Literal["train", "dev"]
SPLITS: tuple[SplitName, SplitName] = ("train", "dev")


@dataclass(frozen=True, slots=True)
class Split:
    """One split of one task: its examples in the source's order, and what identifies them."""

    task: str
    name: SplitName
    examples: tuple[Example, ...]
    count: RowCount
    fingerprint: str


def load_split(task: TaskSpec, split: SplitName) -> Split:
    """Read one split of a task.

    Raises:
        MissingError: the file or data set is not there.
        DataError: it is there and cannot be used; the message names file and line.
    """
    examples, count = _read(task, split)
    return Split(task.name, split, tuple(examples), count, fingerprint(examples))


def load_test(task: TaskSpec) -> tuple[Example, ...]:
    """Read the file that is to be predicted and handed in, in its order; labels that it lacks are NaN.

    Raises:
        MissingError: the source names no such file, or it is not there.
        DataError: it is there and cannot be used; the message names file and line.
    """
    source = task.source
    if not isinstance(source, FilesSource) or source.test is None:
        raise MissingError(
            f"task {task.name}: no file of a test split is named",
            f"name one: --set tasks.{task.name}.source.test=FILE, or in the workload's file",
        )
    from peftbench.data.sources import files

    path = files.split_path(task, source, "test")
    return tuple(to_predict(task, files.read_rows(path, source.separator), str(path)))


def _read(task: TaskSpec, split: SplitName) -> tuple[list[Example], RowCount]:
    source = task.source
    if isinstance(source, FilesSource):
        from peftbench.data.sources import files

        path = files.split_path(task, source, split)
        return to_examples(task, files.read_rows(path, source.separator), str(path))
    if isinstance(source, HubSource):
        from peftbench.data.sources import hub

        return to_examples(task, hub.read_rows(task, source, split), f"{source.path} {split}")
    from peftbench.data import quickstart

    size = source.train if split == "train" else source.dev
    noise = {} if source.label_noise is None else {"label_noise": source.label_noise}
    examples = quickstart.generate(task.name, split, size, seed=source.seed, **noise)
    return examples, RowCount(read=len(examples))
