"""From the rows of a source to examples: columns checked, labels parsed, rows without a label counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from peftbench.data.examples import Example
from peftbench.errors import DataError, did_you_mean
from peftbench.tasks import TaskSpec
from peftbench.text import clean


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source: its values by column, and the number at which a person finds it."""

    number: int
    values: Mapping[str, Any]
    unit: str = "line"
    table: bool = True


@dataclass(slots=True)
class RowCount:
    """How many rows a split had, and how many were left out, by reason."""

    read: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    def skip(self, reason: str) -> None:
        """Count one row left out."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def to_examples(task: TaskSpec, rows: Iterable[Row], where: str) -> tuple[list[Example], RowCount]:
    """Turn rows into examples.

    Rows without a label or without text are left out and counted.

    Args:
        task: names the columns and the labels that are allowed.
        rows: the source's rows, in order.
        where: the file or data set, for messages.

    Raises:
        DataError: a column is missing, a label is out of range, an id occurs twice, no row is usable.
    """
    count = RowCount()
    examples: list[Example] = []
    first_seen: dict[str, int] = {}
    for row in rows:
        count.read += 1
        _check_columns(task, (*task.text, task.label), row, where)
        place = f"{where}, {row.unit} {row.number}"
        texts = tuple(_text(row.values[column], column, place) for column in task.text)
        label = row.values[task.label]
        if _is_empty(label):
            count.skip("no label")
        elif not all(texts):
            count.skip("no text")
        else:
            examples.append(Example(_own_id(task, row, where, first_seen), texts, _label(task, label, place)))
    if not examples:
        left_out = ", ".join(f"{n} with {reason}" for reason, n in count.skipped.items())
        raise DataError(f"{where}: no usable row{f' ({left_out})' if left_out else ''}")
    return examples, count


def to_predict(task: TaskSpec, rows: Iterable[Row], where: str) -> list[Example]:
    """Turn rows that need no label into examples, every one of them; a label that is missing is NaN.

    Args:
        task: names the columns.
        rows: the source's rows, in order.
        where: the file, for messages.

    Raises:
        DataError: a column is missing, a label is there and out of range, an id occurs twice, there is no row.
    """
    examples: list[Example] = []
    first_seen: dict[str, int] = {}
    for row in rows:
        _check_columns(task, task.text, row, where)
        place = f"{where}, {row.unit} {row.number}"
        texts = tuple(_text(row.values[column], column, place) for column in task.text)
        label = row.values.get(task.label)
        known = math.nan if _is_empty(label) else _label(task, label, place)
        examples.append(Example(_own_id(task, row, where, first_seen), texts, known))
    if not examples:
        raise DataError(f"{where}: no row to predict")
    return examples


def _is_empty(label: object) -> bool:
    return label is None or (isinstance(label, str) and not label.strip())


def _own_id(task: TaskSpec, row: Row, where: str, first_seen: dict[str, int]) -> str:
    """Return the row's id, which no row before it may have had."""
    example_id = str(row.values[task.id]) if task.id else str(row.number)
    earlier = first_seen.setdefault(example_id, row.number)
    if earlier != row.number:
        raise DataError(
            f"{where}, {row.unit} {row.number}: the id '{clean(example_id, 60)}' was already used "
            f"in {row.unit} {earlier}",
            f'ids must be unique; or set tasks.{task.name}.id="" to use row numbers',
        )
    return example_id


def _check_columns(task: TaskSpec, needed: tuple[str, ...], row: Row, where: str) -> None:
    for column in (*needed, *([task.id] if task.id else [])):
        if column not in row.values:
            present = [clean(name, 40) or "(unnamed)" for name in row.values]
            hint = f"columns there: {', '.join(present)}; set tasks.{task.name}.text, .label or .id"
            if len(present) == 1 and row.table:
                hint = f"the header reads as one column; set tasks.{task.name}.source.separator"
            raise DataError(
                f"{where}, {row.unit} {row.number}: no column '{column}'{did_you_mean(column, present)}", hint
            )


def _text(value: object, column: str, place: str) -> str:
    if isinstance(value, list | dict | bytes):
        raise DataError(f"{place}: '{clean(column, 40)}' is no text but a {type(value).__name__}")
    return "" if value is None else str(value).strip()


def _label(task: TaskSpec, raw: object, place: str) -> float:
    try:
        value = float(raw) if isinstance(raw, int | float | str) and "_" not in str(raw) else math.nan
    except (ValueError, OverflowError):
        value = math.nan
    if task.kind == "similarity":
        if not task.low <= value <= task.high:
            raise DataError(f"{place}: label '{clean(raw, 40)}' is not a score from {task.low:g} to {task.high:g}")
        return value
    classes = task.classes or 2
    if not 0 <= value < classes or value != int(value):
        raise DataError(f"{place}: label '{clean(raw, 40)}' is not a whole number from 0 to {classes - 1}")
    return value
