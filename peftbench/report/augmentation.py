"""Augmented training rows on 80 columns: source and new rows side by side, and quality statistics."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from peftbench.report.plain_table import plain_table
from peftbench.text import clean

if TYPE_CHECKING:
    from peftbench.data.augment.quality import Quality
    from peftbench.data.augment.rows import NewRow
    from peftbench.data.examples import Example
    from peftbench.tasks import TaskSpec

SIDE = 31  # width of each text in columns
_REASONS = ("nothing new", "a row that was there", "a sentence of dev or test")


def pairs(task: TaskSpec, rows: Sequence[tuple[Example, NewRow]]) -> Table:
    """Return source and new rows side by side; words that differ are bold."""
    lines = []
    for source, new in rows:
        lines.append(
            (
                Text(f"{clean(new.operation, 13)}\nlabel {source.label:g}\n"),
                _side(source.texts, new.texts),
                _side(new.texts, source.texts),
            )
        )
    return plain_table((task.name, "source", "new"), lines, left=3)


def _side(texts: Sequence[str], others: Sequence[str]) -> Text:
    known = {word for other in others for word in clean(other).lower().split()}
    lines = [line for text in texts for line in textwrap.wrap(clean(text), SIDE) or [""]]
    shown = [
        Text(" ").join(Text(word, "" if word.lower() in known else "bold") for word in line.split(" "))
        for line in lines
    ]
    return Text("\n").join([*shown, Text()])


def quality_table(tasks: Mapping[str, Sequence[Quality]]) -> Table:
    """Return a row per task and operation: number of new rows, similarity to their sources, rows dropped by reason."""
    rows = [
        (
            task,
            quality.operation,
            f"{quality.rows:,}",
            _share(quality.words_in_common),
            _share(quality.similarity),
            *(f"{quality.left_out.get(reason, 0):,}" for reason in _REASONS),
        )
        for task, qualities in tasks.items()
        for quality in qualities
    ]
    headers = (
        *("task", "operation", "new\nrows", "words in\ncommon", "similar-\nity"),
        *("nothing\nnew", "there\nbefore", "in dev\nor test"),
    )
    return plain_table(headers, rows, left=2)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
