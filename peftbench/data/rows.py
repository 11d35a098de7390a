"""Convert source rows to examples: check columns, parse labels, and count rows without text or label."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peftbench.data.examples import Example
from peftbench.data.label_lists import label_lists_of
from peftbench.data.labels import LabelCell, Names, is_missing, labels_of, number_of
from peftbench.data.token_rows import read_tokens
from peftbench.errors import DataError, did_you_mean
from peftbench.store.rows import Label
from peftbench.tasks import SEVERAL_LABELS, TaskSpec
from peftbench.text import clean, lone_surrogate

_LINES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row of a source: its values by column and its line or row number.

    If a split has several files, `where` is this row's file and `shard` its short name.
    """

    number: int
    values: Mapping[str, Any]
    unit: str = "line"
    table: bool = True
    where: str = ""
    shard: str = ""

    def location(self, where: str) -> str:
        """Return the row's location for messages; `where` is the split's file."""
        return f"{self.where or where}, {self.unit} {self.number}"


@dataclass(slots=True)
class RowCount:
    """The number of rows read and, by reason, the number skipped, with the first few locations."""

    read: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[str]] = field(default_factory=dict)

    def skip(self, reason: str, row: SourceRow) -> None:
        """Count one skipped row."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        locations = self.first.setdefault(reason, [])
        if len(locations) < _LINES_SHOWN:
            locations.append(f"{f'{clean(row.shard, 60)} ' if row.shard else ''}{row.unit} {row.number}")

    def described(self, reason: str) -> str:
        """Return the rows skipped for a reason, as in `line 3, line 17 and 4 more`."""
        locations = self.first.get(reason, [])
        more = self.skipped[reason] - len(locations)
        return ", ".join(locations) + (f" and {more:,} more" if more and locations else "")


def to_examples(
    task: TaskSpec, rows: Iterable[SourceRow], where: str, names_of: Callable[[], Names] | None = None
) -> tuple[list[Example], RowCount, Names | None]:
    """Convert rows to examples.

    Rows without a label or text are skipped and counted, or rejected if the task sets `missing = "refuse"`.

    Args:
        task: defines the columns and the allowed labels.
        rows: the source's rows, in order.
        where: the file or data set, for messages.
        names_of: see `labels.labels_of`.

    Returns:
        The examples, the counts of skipped rows, and the class names if labels are names.

    Raises:
        DataError: a column is missing, a label is out of range, an id is duplicated, or no row is usable.
    """
    count = RowCount()
    own: list[tuple[str, tuple[str, ...], str | None]] = []
    labels: list[LabelCell] = []
    first_seen: dict[str, tuple[int, str]] = {}
    weighted = task.sample_weight if names_of is None else ""  # of the training split alone
    weights: list[float] = []
    columns = Columns(task, (*task.text, task.label, *([task.group] if task.group else [])), where)
    for row in rows:
        count.read += 1
        columns.see(row)
        location = row.location(where)
        texts, label = _content(task, row, location)
        reason = "no label" if _is_unlabelled(task, label) else "no text" if not all(texts) else None
        if reason is None:
            own.append((_own_id(task, row, where, first_seen), texts, _cluster(task, row, location)))
            labels.append(LabelCell(label, row.where or where, row.unit, row.number))
            if weighted and weighted not in row.values:
                raise no_column(task, weighted, row, where)
            weights.append(_weight(row, weighted, location) if weighted else 1.0)
        elif task.missing == "refuse":
            column = task.label if reason == "no label" else task.text[texts.index("")]
            raise DataError(
                f"{location}: {reason} in '{clean(column, 40)}'",
                f"tasks.{task.name}.missing=skip skips such rows and counts them",
            )
        else:
            count.skip(reason, row)
    columns.check()
    if not own:
        left_out = ", ".join(f"{n} with {reason}" for reason, n in count.skipped.items())
        raise DataError(f"{where}: no usable row{f' ({left_out})' if left_out else ''}")
    values, names = _labels_of(task, labels, where, names_of)
    if weighted and not any(weights):
        raise DataError(f"{where}: all weights in '{clean(weighted, 40)}' are 0: there is nothing to train on")
    examples = [
        Example(name, texts, value, cluster, weight)
        for (name, texts, cluster), value, weight in zip(own, values, weights, strict=True)
    ]
    return examples, count, names


def to_predict(
    task: TaskSpec, rows: Iterable[SourceRow], where: str, names_of: Callable[[], Names] | None = None
) -> list[Example]:
    """Convert rows to examples for prediction, keeping every row; missing labels are NaN, missing texts are empty.

    Args:
        task: defines the columns.
        rows: the source's rows, in order.
        where: the file, for messages.
        names_of: see `labels.labels_of`.

    Raises:
        DataError: a column is missing, a given label is out of range, an id is duplicated, or there are no rows.
    """
    own: list[tuple[str, tuple[str, ...]]] = []
    labels: dict[int, LabelCell] = {}
    first_seen: dict[str, tuple[int, str]] = {}
    columns = Columns(task, task.text, where)
    for row in rows:
        columns.see(row)
        location = row.location(where)
        texts, label = _content(task, row, location)
        if not _is_unlabelled(task, label):
            labels[len(own)] = LabelCell(label, row.where or where, row.unit, row.number)
        own.append((_own_id(task, row, where, first_seen), texts))
    columns.check()
    if not own:
        raise DataError(f"{where}: no row to predict")
    values, _ = _labels_of(task, list(labels.values()), where, names_of) if labels else ([], None)
    known: dict[int, Label] = dict(zip(labels, values, strict=True))
    return [Example(name, texts, known.get(index, math.nan)) for index, (name, texts) in enumerate(own)]


def texts_of(task: TaskSpec, row: SourceRow, location: str) -> tuple[str, ...]:
    """Return a row's texts, stripped; missing ones (null, NaN, no such key, white space) are empty.

    Of kind 'tokens' it is the row's words, joined by spaces.

    Raises:
        DataError: a value that is not a text, or not valid Unicode.
    """
    if task.kind == "tokens":
        return (_words(task, row.values.get(task.text[0]), row.values.get(task.label), location)[0],)
    return tuple(_text(row.values.get(column), column, location) for column in task.text)


def _content(task: TaskSpec, row: SourceRow, location: str) -> tuple[tuple[str, ...], Any]:
    """Return a row's texts and its label; of kind 'tokens' its words, joined by spaces, and the list of their tags."""
    label = row.values.get(task.label)
    if task.kind != "tokens":
        return texts_of(task, row, location), label
    text, tags = _words(task, row.values.get(task.text[0]), label, location)
    return (text,), tags


def _words(task: TaskSpec, words: object, tags: object, location: str) -> tuple[str, list[str] | None]:
    text, listed = read_tokens(words, tags, location, (task.text[0], task.label))
    check_text(text, location, task.text[0])
    return text, listed


def _is_unlabelled(task: TaskSpec, label: object) -> bool:
    """Return whether a row has no label; an empty text of kind 'multilabel' means that no label applies."""
    return label is None if task.kind in SEVERAL_LABELS else is_missing(label)


def _labels_of(
    task: TaskSpec, cells: Sequence[LabelCell], where: str, names_of: Callable[[], Names] | None
) -> tuple[Sequence[Label], Names | None]:
    several = task.kind in SEVERAL_LABELS
    return label_lists_of(task, cells, where, names_of) if several else labels_of(task, cells, where, names_of)


def check_text(text: str, location: str, column: str) -> None:
    """Check that a cell's text can be encoded as UTF-8.

    Raises:
        DataError: it contains a lone surrogate.
    """
    if (half := lone_surrogate(text)) is not None:
        raise DataError(
            f"{location}, '{clean(column, 40)}': not valid Unicode: {half}",
            "write both halves of the surrogate pair: an escaped emoji in JSON is two consecutive \\u escapes",
        )


def no_column(task: TaskSpec, column: str, row: SourceRow, where: str) -> DataError:
    """Return the error for a missing column; invisible characters in names are shown escaped."""
    names = [str(name) for name in row.values]
    alike = next((name for name in names if name != column and _plain(name) == _plain(column)), None)
    if alike is not None:
        hidden = f"; there is {visible(alike)}, which differs in: {_difference(alike, column)}"
    else:
        hidden = did_you_mean(column, [clean(name, 40) for name in names])
    keys = ".text, .label, .id, .group or .sample_weight"
    hint = f"columns found: {', '.join(map(_listed, names[:40]))}; set tasks.{task.name}{keys}"
    if len(names) == 1 and row.table:
        hint = f"the header has only one column; set tasks.{task.name}.source.separator"
    return DataError(f"{row.location(where)}: no column '{clean(column, 60)}'{hidden}", hint)


def visible(name: str, limit: int = 60) -> str:
    """Return a quoted name with non-ASCII and invisible characters escaped."""
    shown = ascii(name[:limit])
    return shown if len(name) <= limit else f"{shown[:-1]}…'"


def _listed(name: str) -> str:
    if not name.strip():
        return "(unnamed)" if not name else visible(name, 40)
    return clean(name, 40) if clean(name) == name and _plain(name) == name.casefold() else visible(name, 40)


def _plain(name: str) -> str:
    """Return a name without invisible characters, NFKC-normalised and case-folded."""
    return unicodedata.normalize("NFKC", clean(name.replace("\u200d", ""))).casefold()


def _difference(name: str, column: str) -> str:
    if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", column):
        return "Unicode normalisation (NFC and NFD)"
    if name.strip() == column.strip():
        return "white space around the name"
    if name.casefold() == column.casefold():
        return "upper and lower case"
    return "invisible characters"


class Columns:
    """Checks that each file has all required columns: in a table's header, or in at least one of its JSON objects."""

    def __init__(self, task: TaskSpec, needed: tuple[str, ...], where: str) -> None:
        self._task, self._where = task, where
        self._needed = (*needed, *([task.id] if task.id else []))
        self._wanted: list[str] = []
        self._first: SourceRow | None = None  # of the current file

    def see(self, row: SourceRow) -> None:
        """Process a row; for a text table, the first row decides.

        Raises:
            DataError: a required column is missing in a table, or in the previous file.
        """
        if self._first is None or self._first.where != row.where:
            self.check()
            self._first, self._wanted = row, list(self._needed)
        if self._wanted:
            self._wanted = [column for column in self._wanted if column not in row.values]
            if row.table:
                self.check()

    def check(self) -> None:
        """Raise for a required column that no row of the file had."""
        if self._wanted and self._first is not None:
            raise no_column(self._task, self._wanted[0], self._first, self._where)


def _own_id(task: TaskSpec, row: SourceRow, where: str, first_seen: dict[str, tuple[int, str]]) -> str:
    """Return the row's id, which must be unique."""
    value = row.values.get(task.id) if task.id else f"{row.shard}:{row.number}" if row.shard else row.number
    location = row.location(where)
    if is_missing(value) and not isinstance(value, str):
        raise DataError(
            f"{location}: no id in '{clean(task.id, 40)}'",
            f'every row needs one; or set tasks.{task.name}.id="" to use row numbers',
        )
    example_id = str(value)
    check_text(example_id, location, task.id)
    number, file = first_seen.setdefault(example_id, (row.number, row.where))
    if (number, file) != (row.number, row.where):
        there = f"{row.unit} {number}{f' of {file}' if file != row.where else ''}"
        raise DataError(
            f"{location}: the id '{clean(example_id, 60)}' was already used in {there}",
            f'ids must be unique; or set tasks.{task.name}.id="" to use row numbers',
        )
    return example_id


def _weight(row: SourceRow, column: str, location: str) -> float:
    """Return the row's weight in the training loss."""
    value = row.values.get(column)
    weight = None if is_missing(value) else number_of(value)
    if weight is None or not math.isfinite(weight) or weight < 0:
        raise DataError(
            f"{location}: '{clean(column, 40)}' is {clean(ascii(value), 40)}, not a weight",
            "every training row needs a number that is not negative; 0 leaves its loss out",
        )
    return weight


def _cluster(task: TaskSpec, row: SourceRow, location: str) -> str | None:
    """Return the row's cluster; None if the task has no `group` column."""
    if not task.group:
        return None
    value = row.values.get(task.group)
    if is_missing(value):
        raise DataError(
            f"{location}: no group in '{clean(task.group, 40)}'",
            f'every row needs one; or set tasks.{task.name}.group="" to treat the rows as independent',
        )
    name = str(value).strip()
    check_text(name, location, task.group)
    return name


def _text(value: object, column: str, location: str) -> str:
    if isinstance(value, str):
        check_text(value, location, column)
        return value.strip()
    if isinstance(value, list | dict | bytes):
        raise DataError(f"{location}: '{clean(column, 40)}' is not a text but of type {type(value).__name__}")
    return "" if is_missing(value) else str(value)
