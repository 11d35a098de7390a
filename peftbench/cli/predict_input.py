"""Input of `peftbench predict`: arguments, standard input or a file, parsed by the readers that training uses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from peftbench.errors import DataError, MissingError, UsageError
from peftbench.text import clean

if TYPE_CHECKING:
    from peftbench.data.rows import SourceRow
    from peftbench.tasks import TaskSpec

CHUNK = 2048  # rows read and predicted at a time

Texts = tuple[str, ...]


def is_file(path: Path) -> bool:
    """Return whether a path names a file; False for names that are invalid on this platform."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def given_texts(task: TaskSpec, texts: list[str]) -> list[Texts]:
    """Return the texts of the command line or of standard input, stripped and non-empty.

    Raises:
        UsageError: the number of texts is wrong, or one is empty or not UTF-8.
        DataError: a line of standard input is malformed.
        MissingError: standard input holds no text.
    """
    if not texts or texts == ["-"]:
        return _standard_input(task, asked=bool(texts))
    if len(texts) != len(task.text):
        raise UsageError(f"task {task.name} takes {len(task.text)} text{'s' * task.is_pair}, not {len(texts)}")
    for number, text in enumerate(texts, start=1):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            byte = ord(text[error.start]) & 0xFF
            raise UsageError(
                f"text {number} is not UTF-8 (byte 0x{byte:02x})", "use a UTF-8 terminal, or --file"
            ) from error
        if not text.strip():
            raise UsageError(f"text {number} is empty")
    return [_in_words(task, tuple(text.strip() for text in texts))]


def _in_words(task: TaskSpec, texts: Texts) -> Texts:
    """Return a token task's text as words and punctuation marks with spaces between them, other texts as they are."""
    if task.kind != "tokens":
        return texts
    from peftbench.data.token_rows import read_tokens

    return (read_tokens(texts[0], None, "the text", (task.text[0], task.label))[0],)


def _standard_input(task: TaskSpec, asked: bool) -> list[Texts]:
    from peftbench.data.sources.content import TextLines

    if sys.stdin is None or (sys.stdin.isatty() and not asked):
        raise UsageError("no text given", "pass it as an argument, with --file, or on standard input")
    inputs: list[Texts] = []
    for number, line in enumerate(TextLines(sys.stdin.buffer, "standard input"), start=1):
        if not line.strip():
            continue
        texts = tuple(text.strip() for text in (line.split("\t") if task.is_pair else [line]))
        if len(texts) != len(task.text):
            raise DataError(f"standard input, line {number}: expected two texts separated by a tab, found {len(texts)}")
        if not all(texts):
            raise DataError(f"standard input, line {number}: one of the two texts is empty")
        inputs.append(_in_words(task, texts))
    if not inputs:
        raise MissingError("no text to predict")
    return inputs


@dataclass(frozen=True, slots=True)
class FileRows:
    """A file to predict, read in chunks with the format settings of the run's own files."""

    task: TaskSpec
    path: Path

    def columns(self) -> list[str]:
        """Return the column names; for JSON lines, the union over all rows.

        Raises:
            DataError, MissingError: the file cannot be used; see `read_rows`.
        """
        from peftbench.data.sources.files import format_of

        rows = self._rows()
        if self._separator() is None and format_of(self.path, None) == "jsonl":
            return list(dict.fromkeys(name for row in rows for name in row.values))
        first = next(rows, None)
        return [] if first is None else list(first.values)

    def chunks(self) -> Iterator[list[tuple[SourceRow, Texts]]]:
        """Yield chunks of rows with their texts; a missing text is empty.

        Raises:
            DataError: a column is missing, a value is not text, or a text is missing and the task refuses that.
        """
        from peftbench.data.rows import Columns, texts_of

        where = clean(self.path, 300)
        columns = Columns(self.task.model_copy(update={"id": ""}), self.task.text, where)
        rows = self._rows()
        while part := list(islice(rows, CHUNK)):
            chunk: list[tuple[SourceRow, Texts]] = []
            for row in part:
                columns.see(row)
                texts = texts_of(self.task, row, row.location(where))
                if not all(texts) and self.task.missing == "refuse":
                    raise DataError(f"{row.location(where)}: no text in '{clean(self.task.text[texts.index('')], 40)}'")
                chunk.append((row, texts))
            yield chunk
        columns.check()

    def _rows(self) -> Iterator[SourceRow]:
        from peftbench.data.sources.files import choose_separator, read_rows
        from peftbench.tasks import FilesSource

        source = self.task.source if isinstance(self.task.source, FilesSource) else None
        separator = self._separator()
        if separator is not None:
            separator = choose_separator(self.path, self.task.text, separator)
        same = source is not None and source.separator in (None, separator)
        return read_rows(self.path, separator, source.quoting if source and same else "auto")

    def _separator(self) -> str | None:
        """Return the separator to try first: the run's own, if the file has the type of the run's files."""
        from peftbench.data.sources.content import suffix_of
        from peftbench.data.sources.files import TABLES
        from peftbench.tasks import FilesSource

        source, suffix = self.task.source, suffix_of(self.path)
        if not isinstance(source, FilesSource) or source.separator is None:
            return TABLES.get(suffix)
        alike = suffix in TABLES or suffix in {suffix_of(Path(name)) for name in (source.train, source.dev)}
        return source.separator if alike else None
