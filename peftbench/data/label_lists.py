"""Labels of examples that have several: the labels of a multilabel example, the tags of a sentence's words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from peftbench.data.labels import LabelCell, Names, listed
from peftbench.errors import DataError
from peftbench.tasks import TaskSpec, check_tags
from peftbench.text import clean

_SEPARATORS = ("|", ";", ",")
_SHOWN = 20


def label_lists_of(
    task: TaskSpec, cells: Sequence[LabelCell], where: str, names_of: Callable[[], Names] | None
) -> tuple[list[tuple[int, ...]], Names]:
    """Return the label indices of each example, and the labels' names.

    Of kind 'multilabel' a cell is a list of names or indices, or a text of them with `|`, `;` or `,` between them; the
    indices are sorted, and an empty list or text means that no label applies. Of kind 'tokens' it is a list of tags, or
    of their indices in `labels`.

    Args:
        task: with `labels`, or `classes` and names as they are in the training split: of tags `O` comes first, and
            the others in code-point order.
        cells: the labels of the labelled rows.
        where: the file or data set.
        names_of: returns the names of the task's training split; None: this is the training split.

    Raises:
        DataError: a label that is not allowed, or not as many different ones as `classes`.
    """
    tokens = task.kind == "tokens"
    lists = [[str(tag) for tag in cell.value] if tokens else _several(cell, task.labels or ()) for cell in cells]
    if task.labels is not None:
        names = task.labels
    elif names_of is not None and (known := names_of()):
        names = known
    else:
        names = _inferred(task, lists, where)
    index = {name: label for label, name in enumerate(names)}
    labels = []
    for cell, own in zip(cells, lists, strict=True):
        indices = [_index(index, name, cell, task) for name in own]
        labels.append(tuple(indices if tokens else sorted(set(indices))))
    return labels, names


def checked_tags(names: Names, where: str) -> Names:
    """Return the tags that a split has.

    Raises:
        DataError: one is not of BIO or BIOES, or `O` is missing.
    """
    try:
        check_tags(names)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    return names


def _several(cell: LabelCell, declared: Names) -> list[str]:
    """Return the names, or indices as texts, in a cell of a multilabel task; a declared name may have separators."""
    value: Any = cell.value
    if isinstance(value, str):
        if value.strip() in declared:
            return [value.strip()]
        separator = next((each for each in _SEPARATORS if each in value), None)
        parts: Iterable[Any] = value.split(separator) if separator else [value]
        return [part.strip() for part in parts if part.strip()]
    if isinstance(value, list | tuple):
        if all(isinstance(each, str) or (isinstance(each, int) and not isinstance(each, bool)) for each in value):
            return [str(each).strip() for each in value]
    elif isinstance(value, int) and not isinstance(value, bool):
        return [str(value)]
    raise DataError(
        f"{cell.location}: label '{clean(value, 60)}' must be a list of labels, or a text with | between them"
    )


def _inferred(task: TaskSpec, lists: Sequence[Sequence[str]], where: str) -> Names:
    different = sorted({name for own in lists for name in own})
    if task.kind != "tokens" and different and all(name.isdecimal() for name in different):
        return tuple(map(str, range(task.classes or 1)))
    names = tuple(sorted(different, key=lambda name: (task.kind == "tokens" and name != "O", name)))
    what = "tags" if task.kind == "tokens" else "labels"
    shown = ", ".join(f'"{clean(name, 40)}"' for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    if len(names) != task.classes:
        raise DataError(
            f"{where} has {len(names)} different {what}, not the {task.classes} of task {task.name}: {shown}",
            f"name them in order: tasks.{task.name}.labels=[{shown}]",
        )
    return checked_tags(names, where) if task.kind == "tokens" else names


def _index(index: dict[str, int], name: str, cell: LabelCell, task: TaskSpec) -> int:
    if name in index:
        return index[name]
    if name.isdecimal() and int(name) < len(index):
        return int(name)
    what = "tag" if task.kind == "tokens" else "label"
    raise DataError(
        f"{cell.location}: {what} '{clean(name, 40)}' is not one of task {task.name}'s: {listed(list(index), _SHOWN)}",
        f"tasks.{task.name}.labels lists them in order",
    )
