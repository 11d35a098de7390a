"""Tags and notes of runs: the user's own, of this database only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from peftbench.errors import UsageError
from peftbench.store.rows import LONGEST_NOTE, LONGEST_TAG, MOST_TAGS, Run
from peftbench.store.writer import Writer
from peftbench.text import clean

_TAG = re.compile(r"[\w][\w.+/@#=-]*")


def tag(
    database: Path, runs: Sequence[Run], tags: Sequence[str], *, remove: bool = False
) -> dict[str, tuple[str, ...]]:
    """Add tags to runs, or remove them; return each run's tags by its id.

    Raises:
        UsageError: a tag is malformed, or a run would have too many.
        StorageError: the database cannot be written.
    """
    for each in tags:
        check_tag(each)

    def change(before: tuple[str, ...]) -> tuple[str, ...]:
        if remove:
            return tuple(each for each in before if each not in tags)
        after = tuple(dict.fromkeys((*before, *tags)))
        if len(after) > MOST_TAGS:
            raise UsageError(f"a run has at most {MOST_TAGS} tags", "remove some: peftbench tag RUN TAG --remove")
        return after

    with Writer(database, create=False) as writer:
        return {run.id: writer.set_tags(run.id, change) for run in runs}


def note(database: Path, runs: Sequence[Run], text: str | None) -> None:
    """Set the note of runs; None, or white space alone, removes it.

    Raises:
        UsageError: it is too long.
        StorageError: the database cannot be written.
    """
    cleaned = clean(text or "")
    if len(cleaned) > LONGEST_NOTE:
        raise UsageError(f"a note has at most {LONGEST_NOTE:,} characters, not {len(cleaned):,}")
    with Writer(database, create=False) as writer:
        for run in runs:
            writer.set_note(run.id, cleaned or None)


def check_tag(text: str) -> None:
    """Check a tag.

    Raises:
        UsageError: it is too long, or has other characters than letters, digits and . + / @ # = - _.
    """
    if len(text) > LONGEST_TAG or not _TAG.fullmatch(text):
        raise UsageError(
            f"tag '{clean(text, 60)}': a tag has letters, digits and . + / @ # = - _, begins with a letter or digit, "
            f"and is at most {LONGEST_TAG} characters long",
            "such as: peftbench tag lora-r12-1 baseline",
        )
