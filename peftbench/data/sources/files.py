"""Rows of local files: csv, tsv, jsonl, parquet. Every complaint names the file and the line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peftbench.data.rows import Row
from peftbench.errors import DataError, MissingError
from peftbench.tasks import FilesSource, TaskSpec
from peftbench.text import clean

_SEPARATORS = {"comma": ",", "tab": "\t", "semicolon": ";"}
_BY_EXTENSION = {".csv": "comma", ".tsv": "tab"}


def split_path(task: TaskSpec, source: FilesSource, split: str) -> Path:
    """Return the path of a split's file.

    Raises:
        MissingError: no folder was given for the workload's files, or the file is not there.
    """
    name = {"train": source.train, "dev": source.dev, "test": source.test}[split]
    if name is None:
        raise MissingError(f"task {task.name}: the workload names no file of its {split} split")
    if source.root is None and not Path(name).expanduser().is_absolute():
        raise MissingError(
            f"task {task.name}: the workload reads '{name}' from a folder, and none was given",
            f"add --data DIR, or --data {task.name}=DIR for this task alone",
        )
    path = Path(source.root or "").expanduser() / Path(name).expanduser()
    if not path.is_file():
        raise MissingError(
            f"task {task.name}: {path} does not exist",
            f"point --data {task.name}=DIR at the folder that holds '{name}'",
        )
    return path


def read_rows(path: Path, separator: str | None) -> Iterator[Row]:
    """Yield the rows of one file, each with the line or row number a person would look for.

    Args:
        path: the file; its extension tells the format.
        separator: "comma", "tab" or "semicolon": read as a text table whatever the extension.

    Raises:
        DataError: an unknown extension, an empty file, bad UTF-8, a broken line.
    """
    form = format_of(path, separator)
    if form == "jsonl":
        yield from _json_rows(path)
    elif form == "parquet":
        yield from _parquet_rows(path)
    else:
        yield from _table_rows(path, form)


def format_of(path: Path, separator: str | None) -> str:
    """Return how a file is read and written: "jsonl", "parquet", or the character between a text table's fields.

    Raises:
        DataError: an unknown extension.
    """
    extension = path.suffix.lower()
    separator = separator or _BY_EXTENSION.get(extension)
    if separator is not None:
        return _SEPARATORS[separator]
    if extension in (".jsonl", ".ndjson"):
        return "jsonl"
    if extension == ".parquet":
        return "parquet"
    raise DataError(
        f"{path}: unknown file type '{extension}'",
        'known: .csv, .tsv, .jsonl, .parquet; or declare separator = "comma" | "tab" | "semicolon"',
    )


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MissingError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1  # without the byte order mark that `data` may have
        bad = error.object[error.start]
        raise DataError(f"{path}, line {line}: not UTF-8 (byte 0x{bad:02x})", "save the file as UTF-8") from error
    if not text.strip():
        raise DataError(f"{path}: the file is empty")
    return text


def _table_rows(path: Path, separator: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(_text(path), newline=""), delimiter=separator, strict=True)
    begun = 1  # the line at which the current record begins
    try:
        header = next(reader)
        begun = reader.line_num + 1
        twice = sorted({name for name in header if name and header.count(name) > 1})
        if twice:
            raise DataError(f"{path}, line 1: two columns are named '{clean(twice[0], 40)}'")
        for fields in reader:
            number, begun = begun, reader.line_num + 1
            if not fields:
                continue
            if len(fields) != len(header):
                raise DataError(
                    f"{path}, line {number}: {len(fields)} fields, the header has {len(header)}",
                    "check the separator and the quotes of that line",
                )
            yield Row(number, dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        hint = "is a quote in that line not closed?" if reader.line_num > begun else None
        raise DataError(f"{path}, line {begun}: {error}", hint) from error


def _json_rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: not JSON: {clean(error)}") from error
        if not isinstance(values, dict):
            raise DataError(f"{path}, line {number}: expected a JSON object, found {type(values).__name__}")
        yield Row(number, values, table=False)


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not readable as parquet: {clean(error)}") from error
    rows: list[dict[str, Any]] = table.to_pylist()
    if not rows:
        raise DataError(f"{path}: the file has no rows")
    for number, values in enumerate(rows, start=1):
        yield Row(number, values, unit="row", table=False)
