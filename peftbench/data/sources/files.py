"""Read rows from local files: csv, tsv, jsonl, parquet, conll. Every error names the file and the line."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from peftbench.data.rows import SourceRow
from peftbench.data.sources import conll, tables
from peftbench.data.sources.content import COMPRESSED, TextLines, suffix_of
from peftbench.errors import DataError, MissingError
from peftbench.store.conditions import SplitReading
from peftbench.tasks import FilesSource, TaskSpec
from peftbench.text import clean

TABLES = {".csv": "comma", ".tsv": "tab"}
_JSON_LINES = (".jsonl", ".ndjson")
_PARQUET_ROWS = 1024  # per batch
_ORDER = ("tab", "comma", "semicolon")
_CONLL = (".conll", ".bio", ".iob", ".iob2", ".bioes")
_KNOWN = (*TABLES, *_JSON_LINES, ".parquet", *_CONLL)


@dataclass(slots=True)
class FileReading:
    """How a file was read; filled in while reading its rows."""

    separator: str | None = None
    quoting: str | None = None
    encoding: str | None = None
    compression: str | None = None
    lines: int = 0
    rows: int = 0
    spanning: int = 0  # fields of a text table that span several physical lines

    def as_dict(self) -> dict[str, Any]:
        """Return the known values, for a run's record."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if value or name == "rows"}


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a split; `name` identifies it if the split has several files, else it is empty."""

    path: Path
    name: str = ""


def split_paths(task: TaskSpec, source: FilesSource, split: str) -> list[Shard]:
    """Return the files of a split: one, or those of a folder or a pattern such as `train-*.jsonl.gz`, sorted by name.

    Raises:
        MissingError: no folder was given for the workload's files, or no file matches.
    """
    name = {"train": source.train, "dev": source.dev, "test": source.test}[split]
    shown = clean(name, 120)
    if name is None:
        raise MissingError(f"task {task.name}: the workload names no file for its {split} split")
    if source.root is None and not Path(name).expanduser().is_absolute():
        raise MissingError(
            f"task {task.name}: the workload reads '{shown}' from a folder, and none was given",
            f"add --data DIR, or --data {task.name}=DIR for this task only",
        )
    path = Path(source.root or "").expanduser() / Path(name).expanduser()
    hint = f"point --data {task.name}=DIR at the folder that contains '{shown}'"
    try:
        if path.is_file():
            return [Shard(path)]
        shards = _folder_shards(path) if path.is_dir() else _pattern_shards(path)
        there = path.is_dir()
    except (OSError, ValueError) as error:  # name too long, or a NUL byte
        reason = getattr(error, "strerror", None) or clean(error, 100)
        raise MissingError(f"task {task.name}: {clean(path, 300)}: {reason}", hint) from error
    if not shards and there:
        raise MissingError(f"task {task.name}: the folder {clean(path, 300)} has no data file: {', '.join(_KNOWN)}")
    if not shards:
        raise MissingError(f"task {task.name}: {clean(path, 300)} does not exist", hint)
    kinds = sorted({suffix_of(shard.path) for shard in shards})
    if len(kinds) > 1:
        raise DataError(
            f"task {task.name}: {clean(path, 300)}: files of several kinds: {', '.join(kinds)}",
            f"select one kind with a pattern: {shown}/*{kinds[0]}*",
        )
    return shards


def _folder_shards(folder: Path) -> list[Shard]:
    """Return the data files of a folder, sorted by name, ignoring names that begin with a dot or an underscore."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] not in "._")
    return [Shard(path, path.name) for path in paths if suffix_of(path) in _KNOWN]


def _pattern_shards(path: Path) -> list[Shard]:
    if not glob.has_magic(str(path)):
        return []
    fixed = next(parent for parent in path.parents if not glob.has_magic(str(parent)))
    pattern = str(path.relative_to(fixed))
    paths = sorted(file for file in fixed.glob(pattern) if file.is_file())
    return [Shard(file, str(file.relative_to(fixed))) for file in paths]


def split_path(task: TaskSpec, source: FilesSource, split: str) -> Path:
    """Return the path of a split that must be a single file.

    Raises:
        MissingError: see `split_paths`; or the split has several files.
    """
    shards = split_paths(task, source, split)
    if len(shards) > 1 or shards[0].name:
        raise MissingError(f"task {task.name}: the {split} split has {len(shards)} files; a single file is required")
    return shards[0].path


def read_rows(
    path: Path,
    separator: str | None = None,
    quoting: str = "auto",
    *,
    columns: Sequence[str] = (),
    reading: FileReading | None = None,
) -> Iterator[SourceRow]:
    """Yield the rows of one file, each with its line or row number.

    Args:
        path: the file; its extension determines the format.
        separator: "comma", "tab" or "semicolon": read as a text table whatever the extension. None: for a `.csv` or
            `.tsv`, its own, or the first with which the header has the columns.
        quoting: "minimal", "none", or "auto": see `tables.detect_quoting`.
        columns: the columns expected in the header.
        reading: filled in with how the file was read.

    Raises:
        DataError: an unknown extension, an empty file, text that cannot be decoded, a broken line.
    """
    reading = FileReading() if reading is None else reading
    form = format_of(path, separator)
    if form == "jsonl":
        return _json_rows(path, reading)
    if form == "parquet":
        return _parquet_rows(path, reading)
    if form == "conll":
        return _conll_rows(path, reading)
    return _table_rows(path, separator or choose_separator(path, columns), quoting, reading)


def read_shards(
    shards: Sequence[Shard], source: FilesSource, columns: Sequence[str], readings: dict[str, FileReading]
) -> Iterator[SourceRow]:
    """Yield the rows of all files of a split in turn; each file's reading is stored in `readings` by its name."""
    for shard in shards:
        reading = readings.setdefault(shard.name, FileReading())
        rows = read_rows(shard.path, source.separator, source.quoting, columns=columns, reading=reading)
        for row in rows:
            yield replace(row, where=clean(shard.path, 300), shard=shard.name) if shard.name else row


def described(readings: Mapping[str, FileReading]) -> SplitReading:
    """Summarise how a split was read: total rows, and per setting the common value or one per file."""
    dicts = [reading.as_dict() for reading in readings.values()]
    totals = {key: sum(each.get(key, 0) for each in dicts) for key in ("lines", "rows", "spanning")}
    summary: dict[str, Any] = {key: total for key, total in totals.items() if total or key == "rows"}
    for key in ("separator", "quoting", "encoding", "compression"):
        values = list(dict.fromkeys(each.get(key) for each in dicts))
        if values != [None]:
            summary[key] = values[0] if len(values) == 1 else values
    return cast("SplitReading", summary | ({"files": len(dicts)} if any(readings) else {}))


def format_of(path: Path, separator: str | None) -> str:
    """Return the format of a file: "jsonl", "parquet", "conll", or the separator character of a text table.

    Raises:
        DataError: an unknown extension.
    """
    extension = suffix_of(path)
    separator = separator or TABLES.get(extension)
    if separator is not None:
        return tables.CHARACTERS[separator]
    if extension in _JSON_LINES:
        return "jsonl"
    if extension == ".parquet":
        return "parquet"
    if extension in _CONLL:
        return "conll"
    raise DataError(
        f"{clean(path, 300)}: unknown file type '{clean(extension, 40)}'",
        f'known: {", ".join(_KNOWN)}, text formats also with {", ".join(COMPRESSED)}; or declare separator = "comma" |'
        '| "tab" | "semicolon"',
    )


def choose_separator(path: Path, columns: Sequence[str], preferred: str | None = None) -> str:
    """Return the first separator with which a table's header has all columns; the first one tried if none has.

    Order: the preferred one, the extension's, tab, comma, semicolon. The header is parsed with each, so that a
    separator within a quoted name is part of the name.
    """
    tried = list(dict.fromkeys(filter(None, (preferred, TABLES.get(suffix_of(path)), *_ORDER))))
    for separator in tried:
        header = _header(path, tables.CHARACTERS[separator])
        if header is not None and set(columns) <= set(header):
            return separator
    return tried[0]


def _header(path: Path, separator: str) -> list[str] | None:
    try:
        for record in tables.records(TextLines.of(path), separator, "minimal", ""):
            return record.fields
    except DataError:  # reported when the rows are read
        pass
    return None


def _table_rows(path: Path, separator: str, quoting: str, reading: FileReading) -> Iterator[SourceRow]:
    where, character = clean(path, 300), tables.CHARACTERS[separator]
    lines = TextLines.of(path)
    reading.separator, reading.encoding, reading.compression = separator, lines.encoding, lines.compression
    if quoting == "auto":
        quoting = tables.detect_quoting(lines, character, where)
        lines = TextLines.of(path)
    reading.quoting = quoting
    header: list[str] | None = None
    for record in tables.records(_counted(lines, reading), character, quoting, where):
        location = f"{where}, line {record.number}"
        if header is None:
            if len(record.fields) == 1 and not record.fields[0].strip():
                continue  # blank line before the header
            header = record.fields
            twice = sorted({name for name in header if name and header.count(name) > 1})
            if twice:
                raise DataError(f"{location}: two columns are named '{clean(twice[0], 40)}'")
            continue
        if len(record.fields) != len(header):
            raise DataError(
                f"{location}: {len(record.fields)} fields, the header has {len(header)}",
                f"check the separator ({separator}) and the quotes (quoting: {quoting}) of that line",
            )
        reading.rows += 1
        reading.spanning += record.spanning
        yield SourceRow(record.number, dict(zip(header, record.fields, strict=True)))
    if header is None:
        raise DataError(f"{where}: the file is empty")


def _counted(lines: TextLines, reading: FileReading) -> Iterator[str]:
    for line in lines:
        reading.lines += 1
        yield line


def _json_rows(path: Path, reading: FileReading) -> Iterator[SourceRow]:
    where = clean(path, 300)
    lines = TextLines.of(path)
    reading.encoding, reading.compression = lines.encoding, lines.compression
    for number, line in enumerate(_counted(lines, reading), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}, line {number}: not JSON: {clean(error, 200)}") from error
        if not isinstance(values, dict):
            raise DataError(f"{where}, line {number}: expected a JSON object, found {type(values).__name__}")
        reading.rows += 1
        yield SourceRow(number, values, table=False)
    if not reading.rows:
        raise DataError(f"{where}: the file is empty")


def _conll_rows(path: Path, reading: FileReading) -> Iterator[SourceRow]:
    where, lines = clean(path, 300), TextLines.of(path)
    reading.encoding, reading.compression = lines.encoding, lines.compression
    for number, words, tags in conll.sentences(_counted(lines, reading), where):
        reading.rows += 1
        yield SourceRow(number, {"tokens": words, "tags": tags}, table=False)
    if not reading.rows:
        raise DataError(f"{where}: the file is empty")


def _parquet_rows(path: Path, reading: FileReading) -> Iterator[SourceRow]:
    import pyarrow
    import pyarrow.parquet

    where = clean(path, 300)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise DataError(f"{where}: two columns are named '{clean(twice[0], 40)}'")
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for values in batch.to_pylist():
                    reading.rows += 1
                    yield SourceRow(reading.rows, values, unit="row", table=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{where}: not readable as parquet: {clean(error, 200)}") from error
    if not reading.rows:
        raise DataError(f"{where}: the file has no rows")
