"""Where snapshots come from: the store, read a little at a time; only what is new since the last look."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from peftbench.analysis.course import best_gap
from peftbench.analysis.forecast import Wanted as WantedTime
from peftbench.analysis.forecast import forecast
from peftbench.analysis.resources import cost
from peftbench.errors import PeftbenchError
from peftbench.jobs.liveness import state_shown
from peftbench.report.watching_lines import time_left_s
from peftbench.store.reader import Reader
from peftbench.store.rows import ACTIVE_STATES, Run, RunRecord, SampleRow
from peftbench.tui.machine import Machine, MachineMeter
from peftbench.tui.snapshot import Detail, Figures, Line, Snapshot, Wanted

MOST_PINNED = 20
PINNED_BY_ITSELF = 3
MOST_POINTS = 600  # of a whole run's samples, summed up
_BUDGET_S = 0.05  # for figures of runs that nobody looks at, in one look
_FORECAST_EVERY_S = 5.0


class Source(Protocol):
    """Gives snapshots; from one thread only."""

    def look(self, wanted: Wanted) -> Snapshot:
        """Return the world as it is now. Never raises for what a user can read about: see `Snapshot.problem`."""

    def close(self) -> None:
        """Let go of what it holds."""


class StoreSource:
    """Reads one database; opens it anew where its file was replaced, and says so where it cannot be read.

    Args:
        path: the file; one that is not there (yet) reads as an empty one.
        machine: what reads the machine.
        clock: Unix time.
        host: this machine's name, by which times are predicted.
    """

    def __init__(
        self,
        path: Path,
        machine: Callable[[], Machine] | None = None,
        clock: Callable[[], float] = time.time,
        host: str | None = None,
    ) -> None:
        self.path, self.clock, self.host = path, clock, host
        self._meter = MachineMeter()
        self._machine = machine or self._meter.read
        self._reader: Reader | None = None
        self._file: tuple[int, int] | None = None
        self._last = Snapshot(clock(), read=False)
        self._forget()

    def look(self, wanted: Wanted) -> Snapshot:
        """Return the world as it is now."""
        machine = self._machine()
        try:
            self._last = self._look(wanted, machine)
        except PeftbenchError as error:
            self._close_reader()
            said = error.message + (f" ({error.hint})" if error.hint else "")
            self._last = replace(self._last, now_s=self.clock(), machine=machine, problem=said, read=True, broken=True)
        return self._last

    def close(self) -> None:
        """Close the database and let the cards go."""
        self._close_reader()
        self._meter.close()

    def _look(self, wanted: Wanted, machine: Machine) -> Snapshot:
        if (gone := self._open()) is not None:
            return replace(self._last, now_s=self.clock(), machine=machine, problem=gone, read=True, broken=True)
        reader = self._reader
        assert reader is not None
        marks = reader.marks()
        for run_id, mark in marks.items():
            if self._marks.get(run_id) != mark:
                self._marks[run_id] = mark
                self._take(reader, run_id)
        for gone in self._marks.keys() - marks.keys():
            self._drop(gone)
            del self._marks[gone]
        runs = [self._runs[run_id] for run_id in marks if run_id in self._runs]
        pinned = self._pinned(wanted, runs)
        details = self._details(reader, wanted, pinned)
        self._predict(runs)
        lines = self._lines(reader, wanted, runs, details)
        return Snapshot(self.clock(), lines, pinned, details, machine, problem=self._told_odd())

    def _take(self, reader: Reader, run_id: str) -> None:
        """Read a run's row anew; of one that makes no sense remember why."""
        self._drop(run_id)
        try:
            run = reader.get(run_id)
            if run is not None:
                check(run)
                self._runs[run_id] = run
                self._stale.add(run_id)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self._odd[run_id] = f"{type(error).__name__}: {error}"

    def _drop(self, run_id: str) -> None:
        for known in (self._runs, self._figures, self._records, self._odd):
            known.pop(run_id, None)
        self._stale.discard(run_id)
        self._whole.discard(run_id)

    def _told_odd(self) -> str | None:
        if not self._odd:
            return None
        run_id, why = next(iter(self._odd.items()))
        more = f" and {len(self._odd) - 1} more" if len(self._odd) > 1 else ""
        return f"left out: run {run_id}{more}: what is stored of it cannot be read ({why})"

    def _open(self) -> str | None:
        """Open the database where it is not, or where its file is another one by now; say where it is gone."""
        file = self._identity()
        if file is None and self._runs:
            self._close_reader()
            return f"the database {self.path} is gone: it was deleted or moved; what is shown is what was in it"
        if file != self._file:
            self._close_reader()
            self._forget()
        elif self._reader is not None and self._reader.empty:
            self._close_reader()  # it may have been on its way to be one
        if self._reader is None:
            self._reader, self._file = Reader(self.path), file
        return None

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _forget(self) -> None:
        self._marks: dict[str, tuple[object, ...]] = {}
        self._runs: dict[str, Run] = {}
        self._records: dict[str, RunRecord] = {}
        self._figures: dict[str, Figures] = {}
        self._samples: dict[str, tuple[int | None, list[SampleRow]]] = {}
        self._times: dict[str, float | None] = {}
        self._odd: dict[str, str] = {}  # runs whose rows make no sense, and why
        self._whole: set[str] = set()  # ended runs whose last samples have been read
        self._stale: set[str] = set()  # runs of which the record or the figures are older than their row
        self._predicted_at = float("-inf")

    def _close_reader(self) -> None:
        if self._reader is not None:
            with suppress(Exception):
                self._reader.__exit__(None, None, None)
            self._reader = None

    def _pinned(self, wanted: Wanted, runs: list[Run]) -> tuple[str, ...]:
        if wanted.pinned is not None:
            return tuple(run_id for run_id in wanted.pinned if run_id in self._runs)[:MOST_PINNED]
        return _worth_it(runs)

    def _details(self, reader: Reader, wanted: Wanted, pinned: tuple[str, ...]) -> dict[str, Detail]:
        found: dict[str, Detail] = {}
        for run_id in dict.fromkeys((*pinned, *wanted.looked_at)):
            if run_id not in self._runs:
                continue
            record = self._record(reader, run_id)
            progress = reader.progress(run_id) if state_shown(record.run) in ACTIVE_STATES else None
            found[run_id] = Detail(record, progress, tuple(self._window(reader, wanted, run_id)))
        self._records = {run_id: self._records[run_id] for run_id in found}
        return found

    def _record(self, reader: Reader, run_id: str) -> RunRecord:
        known = self._records.get(run_id)
        if known is None or run_id in self._stale:
            known = reader.record(self._runs[run_id])
            self._records[run_id] = known
            self._figures[run_id] = _figures(known)
            self._stale.discard(run_id)
        return known

    def _window(self, reader: Reader, wanted: Wanted, run_id: str) -> list[SampleRow]:
        """Return a run's samples in the window: new ones are read, older ones dropped."""
        window, held = self._samples.get(run_id, (-1, []))
        active = self._runs[run_id].state in ACTIVE_STATES
        if window != wanted.window_s or not held:
            held = (
                reader.sample_summary(run_id, MOST_POINTS)
                if wanted.window_s is None
                else reader.samples(run_id, last=wanted.window_s)
            )
        elif run_id not in self._whole:
            new = reader.samples(run_id, after=held[-1].sequence, last=wanted.window_s or MOST_POINTS)
            held = [*held, *new]
            if wanted.window_s is None and len(held) > 2 * MOST_POINTS:
                held = reader.sample_summary(run_id, MOST_POINTS)
            elif wanted.window_s is not None:
                held = held[-wanted.window_s :]
        if not active:
            self._whole.add(run_id)
        self._samples[run_id] = (wanted.window_s, held)
        return held

    def _predict(self, runs: list[Run]) -> None:
        """Say of each queued run how long it will take, now and then."""
        queued = [run for run in runs if run.state == "queued"]
        if time.monotonic() - self._predicted_at < _FORECAST_EVERY_S and all(run.id in self._times for run in queued):
            return
        self._predicted_at = time.monotonic()
        times = forecast([WantedTime.of(run) for run in queued], runs, self.host)
        self._times = {run.id: found.wall_s for run, found in zip(queued, times, strict=True)}

    def _lines(self, reader: Reader, wanted: Wanted, runs: list[Run], details: dict[str, Detail]) -> tuple[Line, ...]:
        self._fill(reader, wanted, runs)
        return tuple(self._line(reader, run, details.get(run.id)) for run in runs)

    def _fill(self, reader: Reader, wanted: Wanted, runs: list[Run]) -> None:
        """Read figures of runs that are not drawn: those on the screen at once, others as far as there is time."""
        begun = time.monotonic()
        shown = set(wanted.shown)
        for run in (*(r for r in runs if r.id in shown), *(r for r in runs if r.id not in shown)):
            if run.id not in self._stale:
                continue
            if run.id not in shown and time.monotonic() - begun > _BUDGET_S:
                return
            self._figures[run.id] = _figures(reader.record(run)) if run.started_at else Figures()
            self._stale.discard(run.id)

    def _line(self, reader: Reader, run: Run, detail: Detail | None) -> Line:
        if run.state not in ACTIVE_STATES:
            return Line(run, run.state, None, self._figures.get(run.id, Figures()))
        figures = self._figures.get(run.id, Figures())
        if run.state == "queued":
            return Line(run, run.state, None, replace(figures, left_s=self._times.get(run.id)))
        state = state_shown(run)
        if state not in ACTIVE_STATES:  # nobody wrote it yet: what its worker said last is no more
            return Line(run, state, None, figures)
        progress = detail.progress if detail else reader.progress(run.id)
        record = detail.record if detail else RunRecord(run)
        left_s = time_left_s(record, progress) if progress else None
        last = detail.samples[-1] if detail and detail.samples else None
        if last is None:
            last = next(iter(reader.samples(run.id, last=1)), None)
        if last is not None:
            vram = last.vram_mib if figures.vram_mib is None else figures.vram_mib
            rss = last.rss_mib if figures.rss_mib is None else figures.rss_mib
            figures = replace(figures, energy_j=last.energy_j, vram_mib=vram, rss_mib=rss)
        return Line(run, state, progress, replace(figures, left_s=left_s))


def check(run: Run) -> None:
    """See that what a screen needs of a run's row is what it should be.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is not.
    """
    if not all(isinstance(task, str) for task in RunRecord(run).tasks):
        raise ValueError("the names of its tasks")
    if not isinstance(run.conditions, dict):
        raise ValueError("its conditions")
    for moment in (run.created_at, run.started_at, run.finished_at, run.state_at, run.heartbeat_at):
        if moment is not None and datetime.fromisoformat(moment).tzinfo is None:
            raise ValueError(f"the time {moment!r}")


def _figures(record: RunRecord) -> Figures:
    spent = cost(record)
    joules = None if spent.run_wh is None else spent.run_wh * 3600
    return Figures(best_gap(record), spent.vram_mib, spent.peak_rss_mib, joules)


def _worth_it(runs: Iterable[Run]) -> tuple[str, ...]:
    """Return the runs to draw where nobody said: those that go on, then the newest, all of one workload."""
    known = list(runs)
    working = [run for run in known if run.state in ACTIVE_STATES and run.state != "queued"]
    ended = [run for run in known if run.epochs_done and run not in working]
    found = [*working, *ended]
    same = [run for run in found if run.workload == found[0].workload]
    return tuple(run.id for run in same[:PINNED_BY_ITSELF])
