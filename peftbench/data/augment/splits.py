"""The texts that augmented rows must not contain: those of dev and, if available, of test."""

from __future__ import annotations

from collections.abc import Sequence

from peftbench.data.augment.words import plain
from peftbench.data.examples import Example
from peftbench.data.load import load_test
from peftbench.errors import MissingError
from peftbench.tasks import FilesSource, TaskSpec


def guarded_texts(task: TaskSpec, dev: Sequence[Example]) -> tuple[frozenset[str], str | None]:
    """Return the texts of dev and test, normalised by `plain`, and a note if the test file is missing.

    Raises:
        DataError: the test file exists but is not usable.
    """
    examples, message = list(dev), None
    if isinstance(task.source, FilesSource) and task.source.test is not None:
        try:
            examples += load_test(task)
        except MissingError:
            message = f"{task.name}: no test file, so new rows were compared with dev only"
    return frozenset(plain(text) for example in examples for text in example.texts), message
