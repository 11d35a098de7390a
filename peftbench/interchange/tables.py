"""Export a run's rows as CSV files, or as one JSON file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from peftbench.report.formats import json as jsonable
from peftbench.store.rows import RunRecord
from peftbench.store.transfer import Row, Rows

AS_JSON = ("predictions", "losses", "samples")  # what `show --json` does not print
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(rows: Rows, folder: Path) -> dict[str, int]:
    """Write one CSV file per non-empty table; return the number of rows by table.

    A text that a spreadsheet would interpret as a formula gets a leading apostrophe.
    """
    counts = {}
    for table, given in rows.items():
        if count := _write_table(folder / f"{table}.csv", iter(given)):
            counts[table] = count
    return counts


def _write_table(path: Path, rows: Iterator[Row]) -> int:
    first = next(rows, None)
    if first is None:
        return 0
    count = 1
    with path.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(first)
        writer.writerow(map(_cell, first.values()))
        for row in rows:
            writer.writerow(map(_cell, row.values()))
            count += 1
    return count


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def write_json(record: RunRecord, rows: Rows, file: IO[bytes]) -> None:
    """Write the output of `show --json` together with all predictions, training losses and meter samples."""
    document = jsonable.run_full(record)
    file.write(
        json.dumps({**document, **{table: _listed(rows[table]) for table in AS_JSON}}, indent=1).encode() + b"\n"
    )


def _listed(rows: Iterable[Row]) -> list[Row]:
    return list(rows)
