"""Output of `peftbench predict`: a csv file of the input rows with prediction columns appended."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from peftbench.errors import MissingError, UsageError
from peftbench.text import clean

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def check_out(out: Path, file: Path, force: bool) -> None:
    """Check that the output file may be written, before anything is predicted.

    Raises:
        UsageError: it is the input file, a folder, or exists and `force` is not set.
    """
    shown = clean(out, 300)
    if out.is_dir():
        raise UsageError(f"--out {shown}: is a folder", "name a file")
    if not out.exists():
        return
    if out.samefile(file):
        raise UsageError(f"--out {shown}: is the input file", "name another file")
    if out.is_file() and not force:
        raise UsageError(f"--out {shown}: exists already", "name another file, or add --force to overwrite it")


def free_names(names: Sequence[str], columns: Iterable[str]) -> list[str]:
    """Return the names, all with a suffix `_1`, `_2`, ... if one of them is already an input column."""
    taken = set(columns)
    number = 0
    unique = list(names)
    while taken.intersection(unique):
        number += 1
        unique = [f"{name}_{number}" for name in names]
    return unique


class PredictedRows:
    """Csv writer: a temporary file replaces the target when complete; special files (pipes) are written directly.

    Args:
        out: the output file.
        columns: columns of the input.
        names: names of the new columns.
        raw: leave cells unchanged; otherwise control characters are removed from texts, and a text that a spreadsheet
            would run as a formula gets a leading apostrophe (`guarded` counts the changed cells).

    Raises:
        MissingError: it cannot be written.
    """

    def __init__(self, out: Path, columns: Sequence[str], names: Sequence[str], raw: bool) -> None:
        self._out, self._columns, self._raw = out, list(columns), raw
        self.names = free_names(names, columns)
        self.guarded = 0
        import csv  # imported here to keep other commands fast
        import secrets

        target = out.resolve()
        special = out.exists() and not out.is_file()
        self._target = target
        self._part = target if special else target.with_name(f".{target.name[:80]}.{secrets.token_hex(4)}.part")
        try:
            # a lone surrogate, invalid in UTF-8, is written as an escape
            self._file: IO[str] = self._part.open(
                "w" if special else "x", encoding="utf-8", newline="", errors="backslashreplace"
            )
        except OSError as error:
            raise self._failed(error) from error
        self._writer = csv.writer(self._file)

    def __enter__(self) -> PredictedRows:
        self._write([[*map(self._cell, self._columns), *self.names]])
        return self

    def write(self, rows: Iterable[tuple[Mapping[str, Any], Sequence[Any]]]) -> None:
        """Write rows: the values by input column, and the values of the new columns."""
        self._write(
            [*(self._cell(row.get(name)) for name in self._columns), *map(self._cell, new)] for row, new in rows
        )

    def _write(self, rows: Iterable[Sequence[Any]]) -> None:
        try:
            self._writer.writerows(rows)
        except OSError as error:
            raise self._failed(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
            if kind is None and self._part != self._target:
                self._part.replace(self._target)
        except OSError as failure:
            if kind is None:
                raise self._failed(failure) from failure
        finally:
            if self._part != self._target:
                self._part.unlink(missing_ok=True)

    def _cell(self, value: Any) -> Any:
        if isinstance(value, dict | list):
            value = json.dumps(value, ensure_ascii=False)
        if not isinstance(value, str) or self._raw:
            return value
        kept = value if value.isprintable() else "".join(filter(_is_kept, value))
        safe = f"'{kept}" if kept.startswith(_FORMULA) and not _is_number(kept) else kept
        self.guarded += safe != value
        return safe

    def _failed(self, error: OSError) -> MissingError:
        return MissingError(f"--out {clean(self._out, 300)}: cannot be written: {error.strerror or clean(error)}")


def _is_kept(character: str) -> bool:
    return character in "\t\n\r" or unicodedata.category(character) != "Cc"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text.startswith(("\t", "\r"))
