"""Export and import of a run's rows as stored; an import is atomic.

A row is a mapping from the table's columns to plain values. `run_id` is left out, and so are columns that are
meaningful in this database only: a phase's number, the position in the queue.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

from peftbench.errors import DataError, RefusedError, StorageError
from peftbench.store import prediction_sets
from peftbench.store.reader import Reader
from peftbench.store.rows import RunRecord
from peftbench.store.transactions import Transactions, put_event, what_helps
from peftbench.text import clean

# In the order of their foreign keys. `progress` exists for running runs only.
PREDICTIONS = "predictions"  # exported as a row for each example
TABLES = (
    "runs",
    "epochs",
    "scores",
    "task_bests",
    PREDICTIONS,
    "losses",
    "interim_scores",
    "phases",
    "samples",
    "events",
)
IMPORTED = "import"  # kind of the event that records a run's origin

Row = dict[str, Any]
Rows = Mapping[str, Iterable[Row]]

_LOCAL = {"runs": {"queue_position", "tags", "note"}, "phases": {"id"}}
_BATCH = 1000


class RowReader(Reader):
    """Reads all rows of a run."""

    @contextmanager
    def rows(self, run_id: str) -> Iterator[dict[str, Iterator[Row]]]:
        """Yield every table's rows of a run, in insertion order, from one snapshot."""
        self._connection.execute("BEGIN")
        try:
            yield {table: stored(self._connection, table, run_id) for table in TABLES}
        finally:
            self._connection.execute("ROLLBACK")


def stored(connection: sqlite3.Connection, table: str, run_id: str) -> Iterator[Row]:
    """Yield a table's rows of a run; the connection returns rows of type sqlite3.Row."""
    if table == PREDICTIONS:
        yield from prediction_sets.rows_of(connection, run_id)
        return
    key = "id" if table == "runs" else "run_id"
    left_out = {"run_id", *_LOCAL.get(table, ())}
    for row in connection.execute(f"SELECT * FROM {table} WHERE {key} = ? ORDER BY rowid", (run_id,)):
        yield {name: row[name] for name in row.keys() if name not in left_out}  # noqa: SIM118


class RowImporter(Transactions):
    """Stores runs from another database, used as a context; not shared between threads."""

    def put(
        self, run_id: str, rows: Rows, origin: str, check: Callable[[RunRecord], None], last: Callable[[], None]
    ) -> str:
        """Store a run atomically; return its name, with a number appended where another run has that name.

        Args:
            run_id: the run's id, new to this database.
            rows: rows of every table.
            origin: where they came from, stored as an event.
            check: called with the run as readers will see it; raises where it is invalid.
            last: called before the run becomes visible.

        Raises:
            DataError: the rows are invalid.
            RefusedError: the database already has the run.
            StorageError: the database cannot be written now.
        """
        try:
            with self._transaction(durable=True) as connection:
                connection.row_factory = sqlite3.Row
                if connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone():
                    raise RefusedError(f"{self.path} has had a run {run_id} since a moment ago", "import it again")
                name = ""
                for table in TABLES:
                    given = iter(rows[table])
                    if table == "runs":
                        given, name = _renamed(connection, given)
                    self._insert(connection, table, run_id, given)
                self._check_values(connection, run_id, rows, name)
                put_event(connection, run_id, IMPORTED, origin)
                reader = Reader.over(connection, self.path)
                check(reader.record(reader.run(run_id), predictions=True))
                last()
                return name
        except sqlite3.OperationalError as error:
            raise StorageError(
                f"database {self.path}: cannot be written: {error}", f"{what_helps(error)}; peftbench doctor checks it"
            ) from error
        except (sqlite3.Error, OverflowError, TypeError, ValueError, RecursionError) as error:
            raise DataError(f"its rows are invalid: {clean(error, 200)}") from error
        finally:
            self._connection.row_factory = None

    def _insert(self, connection: sqlite3.Connection, table: str, run_id: str, rows: Iterator[Row]) -> None:
        first = next(rows, None)
        if first is None:
            return
        alike = (_like(first, row, table) for row in chain([first], rows))
        known = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")} - {"run_id"}
        known |= {"probabilities"} if table == PREDICTIONS else set()
        if strange := sorted(first.keys() - known | first.keys() & _LOCAL.get(table, set())):
            raise DataError(f"its table {table} has a column '{clean(strange[0], 60)}', unknown to this peftbench")
        if table == PREDICTIONS:
            prediction_sets.put_rows(connection, run_id, alike)
            return
        columns = ["run_id", *first] if table != "runs" else list(first)
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        start = [] if table == "runs" else [run_id]
        values = ([*start, *row.values()] for row in alike)
        while batch := list(islice(values, _BATCH)):
            connection.executemany(sql, batch)

    def _check_values(self, connection: sqlite3.Connection, run_id: str, rows: Rows, name: str) -> None:
        """Check that values read back equal those given, types included, so that a repeated import compares equal.

        Raises:
            DataError: SQLite converted a value.
        """
        for table in TABLES:
            kept = stored(connection, table, run_id)
            for number, given in enumerate(rows[table], start=1):
                row = next(kept, {})
                for column, value in given.items():
                    meant = name if (table, column) == ("runs", "name") else value
                    if type(row.get(column)) is not type(meant) or row[column] != meant:
                        raise DataError(f"its table {table}, row {number}: invalid value of column {column}")


def _like(first: Row, row: Row, table: str) -> Row:
    if row.keys() != first.keys():
        raise DataError(f"its table {table} has rows of different columns")
    return {column: row[column] for column in first}


def _renamed(connection: sqlite3.Connection, rows: Iterator[Row]) -> tuple[Iterator[Row], str]:
    """Return the single row of `runs`, with a name that is free."""
    run_rows = list(islice(rows, 2))
    if len(run_rows) != 1 or not isinstance(run_rows[0].get("name"), str):
        raise DataError("its table runs must contain one run, with a name")
    given: str = run_rows[0]["name"]
    taken = {row[0] for row in connection.execute("SELECT name FROM runs")}
    name, number = given, 2
    while name in taken:
        name, number = f"{given}-{number}", number + 1
    return iter([{**run_rows[0], "name": name}]), name
