"""Queries for runs: indexed, paginated, and robust against unreadable rows."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from peftbench.errors import DataError, MissingError, UsageError, did_you_mean
from peftbench.store.connection import Connected
from peftbench.store.parsing import parse_run
from peftbench.store.rows import ACTIVE_STATES, Run, RunFilter, UnreadableRun
from peftbench.text import clean

GROUP_HASH = re.compile(r"[0-9a-f]{6,64}(/[0-9a-f]{1,64})?")
PAGE = 200
_SUGGESTED_FROM = 1000  # newest names searched for a similar one
_MOST_LISTED = 8
_LAST_CHARACTER = chr(0x10FFFF)
_AT_ONCE = 500  # parameters per statement

Listed = Run | UnreadableRun


class Listing(Connected):
    """The part of a reader that finds runs. `_connection` returns rows of type sqlite3.Row."""

    path: Path
    empty: bool

    def listed(self, only: RunFilter | None = None, before: Run | UnreadableRun | None = None) -> Iterator[Listed]:
        """Yield the runs that match a filter, newest first; only those older than `before`, where given.

        They are read in pages without a long transaction: a run added meanwhile is not seen.
        """
        edge = None if before is None else self._position(before.id)
        while True:
            page = self._page(only or RunFilter(), edge, PAGE)
            yield from self._of(page)
            if len(page) < PAGE:
                return
            edge = self._position_of_row(page[-1])

    def runs(self, only: RunFilter | None = None) -> list[Run]:
        """Return the readable runs that match a filter, newest first."""
        return [run for run in self.listed(only) if isinstance(run, Run)]

    def count(self) -> int:
        """Return the number of runs."""
        return int(self._rows("SELECT count(*) FROM runs")[0][0]) if not self.empty else 0

    def run(self, run_id: str) -> Run:
        """Return the run with exactly this id.

        Raises:
            MissingError: there is none (it may have been deleted).
            DataError: its row is unreadable.
        """
        run = self.get(run_id)
        if run is None:
            raise MissingError(f"there is no run {clean(run_id)} in {self.path}")
        return run

    def get(self, run_id: str) -> Run | None:
        """Return the run with exactly this id; None where there is none.

        Raises:
            DataError: its row is unreadable.
        """
        listed = self.get_listed(run_id)
        return None if listed is None else readable(listed)

    def get_listed(self, run_id: str) -> Listed | None:
        """Return the run with exactly this id, readable or not; None where there is none."""
        return next(self._of(self._ids("SELECT rowid FROM runs WHERE id = ?", run_id)), None)

    def find(self, reference: str) -> Run:
        """Return the run for a reference: an id, a name, a unique prefix of either, or `latest`.

        Raises:
            MissingError: there are no runs, or none matches.
            UsageError: several match.
            DataError: its row is unreadable.
        """
        return readable(self.find_listed(reference))

    def find_listed(self, reference: str) -> Listed:
        """Return the run for a reference, readable or not; raises as `find` does where not exactly one matches."""
        newest = self._page(RunFilter(), None, 1)
        if not newest:
            raise MissingError(f"there are no runs yet in {self.path}", "start one: peftbench run --preset lora-r12")
        if reference == "latest":
            return next(self._of(newest))
        rows = self._exactly(reference) or self._beginning_with(reference)
        if not rows:
            raise self.nothing_fits(reference)
        if len(rows) > 1:
            names = [f"{clean(run.name)} ({clean(run.id)})" for run in self._of(rows[:_MOST_LISTED])]
            more = ", …" if len(rows) > _MOST_LISTED else ""
            raise UsageError(f"'{clean(reference)}' matches {len(rows)} runs: {', '.join(names)}{more}")
        return next(self._of(rows))

    def matching(self, word: str) -> list[Listed]:
        """Return the runs for a word that may denote several, newest first.

        In this order: the run of an id or name, or `latest`; all runs of a sweep's label; of a preset; of a group's
        hash (`GROUP` or `GROUP/DATA`; at least six characters of the first); the run of a unique prefix.

        Raises:
            MissingError, UsageError: as `find`.
        """
        if word == "latest" or self._exactly(word):
            return [self.find_listed(word)]
        rows = self._ids("SELECT rowid FROM runs WHERE sweep = ?", word)
        rows = rows or self._ids("SELECT rowid FROM runs WHERE preset = ?", word)
        if not rows and GROUP_HASH.fullmatch(word):
            group, _, data = word.partition("/")
            sql = f"SELECT rowid FROM runs WHERE {_starts('group_hash')} AND coalesce(data_hash, '') >= ?2"
            rows = self._ids(f"{sql} AND coalesce(data_hash, '') < ?2 || '{_LAST_CHARACTER}'", group, data)
        return list(self._of(self._newest_first(rows))) if rows else [self.find_listed(word)]

    def nothing_fits(self, reference: str) -> MissingError:
        """Return the error that no run matches, with a similar name as suggestion."""
        sql = "SELECT name FROM runs ORDER BY created_at DESC, rowid DESC LIMIT ?"
        names = [row[0] for row in self._rows(sql, _SUGGESTED_FROM)]
        return MissingError(
            f"no run has the id or name '{clean(reference)}'{did_you_mean(reference, names)}",
            "peftbench runs lists them",
        )

    def candidates(self, word: str, workload: str | None = None) -> list[Run]:
        """Return the runs that `analysis.selection.choose` may select for a word, newest first.

        Where none matches, some of the newest runs, from which a similar name can be suggested.

        Raises:
            DataError: the word denotes a run whose row is unreadable.
        """
        rows = self._exactly(word)
        if rows:
            return [readable(run) for run in self._of(rows[:1])]
        on_it, values = ("", ()) if workload is None else (" AND workload = ?", (workload,))
        if word == "latest":
            return self.newest(1, workload)
        preset = (word.split() or [""])[0]
        rows = self._ids(f"SELECT rowid FROM runs WHERE preset = ?{on_it}", preset, *values)
        if not rows:
            group = word.partition("/")[0]
            rows = [
                *(self._ids(f"SELECT rowid FROM runs WHERE {_starts('group_hash')}{on_it}", group, *values)),
                *self._beginning_with(word),
            ]
        matches = [run for run in self._of(self._newest_first(dict.fromkeys(rows))) if isinstance(run, Run)]
        return matches or self.newest(_MOST_LISTED * 10, workload)

    def newest(self, most: int, workload: str | None = None) -> list[Run]:
        """Return up to `most` of the newest readable runs."""
        page = self._page(RunFilter(workload=workload), None, most)
        return [run for run in self._of(page) if isinstance(run, Run)]

    def newest_ids(self, most: int) -> list[str]:
        """Return the ids of up to `most` of the newest runs, newest first, followed by those that have not ended."""
        states = sorted(ACTIVE_STATES)
        newest = self._rows("SELECT id FROM runs ORDER BY created_at DESC, rowid DESC LIMIT ?", most)
        active = self._rows(
            f"SELECT id FROM runs WHERE state IN ({_marks(states)}) ORDER BY created_at DESC, rowid DESC", *states
        )
        return list(dict.fromkeys(row[0] for row in (*newest, *active)))

    def several(self, run_ids: Sequence[str]) -> Iterator[Listed]:
        """Yield the runs of some ids, skipping missing ones."""
        for at in range(0, len(run_ids), _AT_ONCE):
            some = run_ids[at : at + _AT_ONCE]
            yield from self._of(self._ids(f"SELECT rowid FROM runs WHERE id IN ({_marks(some)})", *some))

    def of_specs(self, hashes: Sequence[str]) -> list[Run]:
        """Return the runs of some specs, newest first."""
        rows: list[int] = []
        for at in range(0, len(hashes), _AT_ONCE):
            some = hashes[at : at + _AT_ONCE]
            rows += self._ids(f"SELECT rowid FROM runs WHERE spec_hash IN ({_marks(some)})", *some)
        return [run for run in self._of(self._newest_first(rows)) if isinstance(run, Run)]

    def _page(self, only: RunFilter, edge: tuple[str, int] | None, most: int) -> list[int]:
        """Return the row numbers of up to `most` matching runs, newest first, older than the edge."""
        conditions: list[tuple[str, tuple[Any, ...]]] = []
        if only.states:
            conditions.append((f"state IN ({_marks(only.states)})", only.states))
        for column in ("preset", "workload", "sweep"):
            if (value := getattr(only, column)) is not None:
                conditions.append((f"{column} = ?", (value,)))
        if only.since is not None:
            conditions.append(("created_at >= ?", (only.since,)))
        if edge is not None:
            conditions.append(("(created_at, rowid) < (?, ?)", edge))
        where = f" WHERE {' AND '.join(text for text, _ in conditions)}" if conditions else ""
        values = [value for _, some in conditions for value in some]
        return self._ids(f"SELECT rowid FROM runs{where} ORDER BY created_at DESC, rowid DESC LIMIT ?", *values, most)

    def _position(self, run_id: str) -> tuple[str, int]:
        row = self._rows("SELECT created_at, rowid FROM runs WHERE id = ?", run_id)[0]
        return row[0], row[1]

    def _position_of_row(self, number: int) -> tuple[str, int]:
        rows = self._rows("SELECT created_at FROM runs WHERE rowid = ?", number)
        return (rows[0][0] if rows else "", number)

    def _exactly(self, reference: str) -> list[int]:
        return self._ids("SELECT rowid FROM runs WHERE id = ?1 UNION SELECT rowid FROM runs WHERE name = ?1", reference)

    def _beginning_with(self, prefix: str) -> list[int]:
        """Return the rows whose id or name has a prefix, last stored first; none for an empty prefix."""
        if not prefix:
            return []
        sql = f"SELECT rowid FROM runs WHERE {_starts('id')} UNION SELECT rowid FROM runs WHERE {_starts('name')}"
        return sorted(self._ids(sql, prefix), reverse=True)

    def _newest_first(self, rows: Sequence[int] | dict[int, None]) -> list[int]:
        times: dict[int, str] = {}
        numbers = list(rows)
        for at in range(0, len(numbers), _AT_ONCE):
            some = numbers[at : at + _AT_ONCE]
            sql = f"SELECT rowid, created_at FROM runs WHERE rowid IN ({_marks(some)})"
            times.update((row[0], row[1]) for row in self._rows(sql, *some))
        return sorted(times, key=lambda number: (times[number], number), reverse=True)

    def _of(self, numbers: Sequence[int]) -> Iterator[Listed]:
        """Yield the runs of some row numbers, in their order, skipping deleted rows."""
        for at in range(0, len(numbers), PAGE):
            some = numbers[at : at + PAGE]
            for number, row in self._whole_rows(some):
                yield self._unreadable(number, row) if isinstance(row, str) else self._parsed(number, row)

    def _whole_rows(self, numbers: Sequence[int]) -> Iterator[tuple[int, sqlite3.Row | str]]:
        """Yield rows by their numbers; SQLite's message in place of an unreadable one."""
        sql = "SELECT rowid AS row_number, * FROM runs WHERE rowid IN "
        try:
            rows = {row[0]: row for row in self._connection.execute(f"{sql}({_marks(numbers)})", tuple(numbers))}
        except sqlite3.Error:
            for number in numbers:
                try:
                    row = self._connection.execute(f"{sql}(?)", (number,)).fetchone()
                except sqlite3.Error as error:
                    yield number, str(error)
                else:
                    if row is not None:
                        yield number, row
            return
        yield from ((number, rows[number]) for number in numbers if number in rows)

    def _parsed(self, number: int, row: sqlite3.Row) -> Listed:
        try:
            return parse_run(row)
        except ValueError as error:
            return self._unreadable(number, str(error))

    def _unreadable(self, number: int, reason: str) -> UnreadableRun:
        """Return what can be read of a row: each column separately, with invalid bytes replaced."""
        values = {}
        for column in ("id", "name", "created_at"):
            try:
                sql = f"SELECT CAST({column} AS BLOB) FROM runs WHERE rowid = ?"
                values[column] = bytes(self._connection.execute(sql, (number,)).fetchone()[0]).decode(
                    "utf-8", "replace"
                )
            except (sqlite3.Error, TypeError):
                values[column] = "?"
        return UnreadableRun(**values, reason=clean(reason, 200))

    def _ids(self, sql: str, *values: object) -> list[int]:
        return [row[0] for row in self._rows(sql, *values)]

    def _rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        if self.empty:
            return []
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise MissingError(f"database {self.path}: cannot be read: {error}") from error


def readable(run: Listed) -> Run:
    """Return the run if it is readable.

    Raises:
        DataError: it is not.
    """
    if isinstance(run, Run):
        return run
    raise DataError(
        f"run {clean(run.name)} ({clean(run.id)}): its stored row cannot be read: {clean(run.reason)}",
        f"was its row edited? peftbench doctor checks the file; peftbench delete {clean(run.id)} deletes the run",
    )


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _starts(column: str) -> str:
    """Return a prefix condition, on a statement's first parameter, that can use an index."""
    return f"{column} >= ?1 AND {column} < ?1 || '{_LAST_CHARACTER}'"
