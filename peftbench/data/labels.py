"""Label parsing: numbers in any source's types, and class names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from peftbench.errors import DataError
from peftbench.tasks import TaskSpec
from peftbench.text import clean

Names = tuple[str, ...]
"""The names of the classes 0, 1, ..., in order."""

FALSE_TRUE: Names = ("False", "True")


class LabelCell(NamedTuple):
    """A raw label and its location in the source."""

    value: Any
    where: str
    unit: str
    number: int

    @property
    def location(self) -> str:
        """The file and line (or row)."""
        return f"{self.where}, {self.unit} {self.number}"


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return the first few names, for messages."""
    return ", ".join(clean(name, 40) for name in names[:most]) + (", …" if len(names) > most else "")


def is_missing(value: object) -> bool:
    """Return whether a cell is missing: null, NaN or only white space. The string "nan" is not missing."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, float | Decimal):
        return math.isnan(value)
    return value is None


def labels_of(
    task: TaskSpec,
    cells: Sequence[LabelCell],
    where: str,
    names_of: Callable[[], Names] | None,
) -> tuple[list[float], Names | None]:
    """Return the labels of a split and, if its labels are class names, those names.

    A task with `labels` accepts only those names. Otherwise labels are numbers; if no label of the split is a number,
    they are class names: True and False are 1 and 0, others are numbered from 0 in code-point order.

    Args:
        task: defines the allowed labels.
        cells: the labels of the labelled rows; never a missing value.
        where: the file or data set.
        names_of: returns the class names of the task's training split; None: this is the training split.

    Raises:
        DataError: a label that is not allowed, or a number of class names other than the number of classes.
    """
    if task.labels is not None:
        index = {name: float(label) for label, name in enumerate(task.labels)}
        return [_named_label(index, cell, task) for cell in cells], task.labels
    if task.is_score or not all(_is_word(cell.value) for cell in cells):
        return [_numeric_label(task, cell) for cell in cells], None
    texts = [cell.value.strip() for cell in cells]
    different = sorted(set(texts))
    if (task.classes or 2) == 2 and {name.casefold() for name in different} <= {"false", "true"}:
        return [float(name.casefold() == "true") for name in texts], FALSE_TRUE
    names = _all_classes(task, different, cells[0], where) if names_of is None else names_of()
    if not names:  # the training split has numbers
        return [_numeric_label(task, cell) for cell in cells], None
    index = {name: float(label) for label, name in enumerate(names)}
    return [_named_label(index, cell, task) for cell in cells], names


def _is_word(value: object) -> bool:
    return isinstance(value, str) and number_of(value) is None


def _all_classes(task: TaskSpec, names: Sequence[str], first: LabelCell, where: str) -> Names:
    classes = task.classes or 2
    if len(names) != classes:
        raise DataError(
            f"{first.location}: label '{clean(first.value, 40)}' is not a whole number from 0 to {classes - 1}, and "
            f"{where} has {len(names)} different label text{'s' * (len(names) != 1)} for {classes} classes: "
            f"{listed(names)}",
            f'name the classes in order: tasks.{task.name}.labels=["…", "…"]',
        )
    return tuple(names)


def _named_label(index: Mapping[str, float], cell: LabelCell, task: TaskSpec) -> float:
    for text in _spellings(cell.value):
        if text in index:
            return index[text]
    raise DataError(
        f"{cell.location}: label '{clean(cell.value, 40)}' is not one of task {task.name}'s labels: "
        f"{listed(list(index))}",
        f"tasks.{task.name}.labels lists them in order",
    )


def _spellings(value: object) -> list[str]:
    """Return the spellings under which a label may be listed: as written and, for a number, in its shortest form."""
    if isinstance(value, str):
        value = value.strip()
    number = number_of(value)
    forms = [str(value)] if number is None else [str(value), f"{number:g}"]
    return [*forms, str(value).lower(), str(value).upper()] if isinstance(value, bool) else forms


def number_of(value: object) -> float | None:
    """Convert a value of any numeric type or a numeric string to float; None for anything else."""
    if not isinstance(value, str | int | float | Decimal) and hasattr(value, "item"):  # numpy's scalars
        value = value.item()
    if not isinstance(value, str | int | float | Decimal) or "_" in str(value):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _numeric_label(task: TaskSpec, cell: LabelCell) -> float:
    number = number_of(cell.value)
    value = math.nan if number is None else number
    if task.kind == "similarity":
        if not task.low <= value <= task.high:
            raise DataError(
                f"{cell.location}: label '{clean(cell.value, 40)}' is not a score from {task.low:g} to {task.high:g}"
            )
        return value
    if task.kind == "regression":
        if not math.isfinite(value):
            raise DataError(f"{cell.location}: label '{clean(cell.value, 40)}' is not a number")
        return value
    classes = task.classes or 2
    if not 0 <= value < classes or value != int(value):
        raise DataError(
            f"{cell.location}: label '{clean(cell.value, 40)}' is not a whole number from 0 to {classes - 1}",
            f'if the classes have names, list them in order: tasks.{task.name}.labels=["…", "…"]',
        )
    return value
