"""What new training rows must not hold: the texts of dev and, where it is there, of test."""

from __future__ import annotations

from collections.abc import Sequence

from peftbench.data.augment.words import plain
from peftbench.data.examples import Example
from peftbench.data.load import load_test
from peftbench.errors import MissingError
from peftbench.tasks import FilesSource, TaskSpec


def guarded_texts(task: TaskSpec, dev: Sequence[Example]) -> tuple[frozenset[str], str | None]:
    """Return the texts of dev and test as `plain` writes them, and what to say where a test file is not there.

    Raises:
        DataError: the test file is there and cannot be used.
    """
    examples, said = list(dev), None
    if isinstance(task.source, FilesSource) and task.source.test is not None:
        try:
            examples += load_test(task)
        except MissingError:
            said = f"{task.name}: no test file, so new rows were compared with dev alone"
    return frozenset(plain(text) for example in examples for text in example.texts), said
