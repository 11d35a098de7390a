"""Snapshot source that reads the database incrementally: only what has changed since the last poll."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from peftbench.analysis.cost import cost
from peftbench.analysis.forecast import PlannedRun, forecast
from peftbench.analysis.time_left import time_left_s
from peftbench.analysis.trajectory import best_gap
from peftbench.errors import PeftbenchError
from peftbench.jobs.liveness import state_shown
from peftbench.store.reader import Reader
from peftbench.store.rows import ACTIVE_STATES, Run, RunRecord, SampleRow, TrainPoint
from peftbench.tui.differences import Differences
from peftbench.tui.machine import Machine, MachineMeter
from peftbench.tui.run_cache import RunCache
from peftbench.tui.state import DashboardState, Detail, Figures, RunLine, StateRequest

MOST_PINNED = 20
PINNED_BY_ITSELF = 3
MOST_POINTS = 600  # samples of a whole run after aggregation
_BUDGET_S = 0.004  # per poll, for figures of off-screen runs: 2 % of a core, beside runs that are measured
_FORECAST_EVERY_S = 5.0


class StateSource(Protocol):
    """Provides states; used from one thread only."""

    def look(self, wanted: StateRequest) -> DashboardState:
        """Return the current state. Errors that the user can read about are in its `problem`, not raised."""

    def close(self) -> None:
        """Release resources."""


class StoreSource:
    """Reads one database; reopens it if its file was replaced, and reports if it cannot be read.

    Args:
        path: path of the database; a file that does not exist (yet) reads as an empty database.
        machine: reads the machine.
        clock: Unix time.
        host: name of this machine, for the prediction of times.
    """

    _wanted: StateRequest | None  # request for which the details were read
    _pinned_ids: tuple[str, ...]
    _shown_details: dict[str, Detail]

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
        self._changed_at: int | None = None
        self._last = DashboardState(clock(), read=False)
        self._forget()

    def look(self, wanted: StateRequest) -> DashboardState:
        """Return the current snapshot."""
        machine = self._machine()
        try:
            self._last = self._look(wanted, machine)
        except PeftbenchError as error:
            self._close_reader()
            problem = error.message + (f" ({error.hint})" if error.hint else "")
            self._last = replace(
                self._last, now_s=self.clock(), machine=machine, problem=problem, read=True, broken=True
            )
        return self._last

    def close(self) -> None:
        """Close the database and NVML."""
        self._close_reader()
        self._meter.close()

    def _look(self, wanted: StateRequest, machine: Machine) -> DashboardState:
        if (gone := self._open()) is not None:
            return replace(self._last, now_s=self.clock(), machine=machine, problem=gone, read=True, broken=True)
        reader = self._reader
        assert reader is not None
        changed = self._loaded.refresh(reader, wanted.most)
        for run_id in changed or ():
            self._invalidate(run_id)
        runs = list(self._loaded.runs.values())
        if changed is not None or wanted != self._wanted:
            self._pinned_ids = self._pinned(wanted, runs)
            self._shown_details = self._details(reader, wanted, self._pinned_ids)
            self._wanted = wanted
        self._predict(reader, runs, changed is not None)
        lines = self._lines(reader, wanted, runs, self._shown_details)
        return DashboardState(
            self.clock(),
            lines,
            self._pinned_ids,
            self._shown_details,
            machine,
            problem=self._unreadable_problem(),
            total=self._loaded.total,
            differs=self._differences.of(runs),
        )

    def _invalidate(self, run_id: str) -> None:
        """Drop everything cached from a run's row, which has changed or was deleted."""
        for known in (self._figures, self._records, self._ended_lines, self._lines_before):
            known.pop(run_id, None)
        self._stale.discard(run_id)
        self._whole.discard(run_id)
        if run_id in self._runs:
            self._stale.add(run_id)

    @property
    def _runs(self) -> dict[str, Run]:
        return self._loaded.runs

    def _unreadable_problem(self) -> str | None:
        unreadable = self._loaded.unreadable
        if not unreadable:
            return None
        run_id, reason = next(iter(unreadable.items()))
        more = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        return f"not listed: run {run_id}{more}: its row cannot be read ({reason})"

    def _open(self) -> str | None:
        """Open the database if it is closed or its file was replaced; return a message if the file is gone."""
        file = self._identity()
        if file is None and self._runs:
            self._close_reader()
            return f"the database {self.path} was deleted or moved; showing its last content"
        if file != self._file or (
            self._reader is not None and self._reader.frozen and self._time() != self._changed_at
        ):
            self._close_reader()
        elif self._reader is not None and self._reader.empty:
            self._close_reader()  # it may just be under creation
        if self._reader is None:
            self._changed_at = self._time()
            self._reader, self._file = Reader(self.path), file
            self._forget()  # change counters are per connection
        return None

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _time(self) -> int | None:
        """Return the file's modification time in nanoseconds."""
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return None

    def _forget(self) -> None:
        self._loaded = RunCache()
        self._differences = Differences()
        self._wanted = None
        self._pinned_ids = ()
        self._shown_details = {}
        self._ended_lines: dict[str, RunLine] = {}
        self._lines_before: dict[str, RunLine] = {}
        self._listed: tuple[RunLine, ...] = ()
        self._records: dict[str, RunRecord] = {}
        self._figures: dict[str, Figures] = {}
        self._points: dict[str, tuple[TrainPoint, ...]] = {}
        self._samples: dict[str, tuple[int | None, list[SampleRow]]] = {}
        self._times: dict[str, float | None] = {}
        self._whole: set[str] = set()  # ended runs whose samples have all been read
        self._stale: set[str] = set()  # runs whose cached record or figures are older than their row
        self._predicted_at = float("-inf")
        self._forecast_due = True

    def _close_reader(self) -> None:
        if self._reader is not None:
            with suppress(Exception):
                self._reader.__exit__(None, None, None)
            self._reader = None

    def _pinned(self, wanted: StateRequest, runs: list[Run]) -> tuple[str, ...]:
        if wanted.pinned is not None:
            return tuple(run_id for run_id in wanted.pinned if run_id in self._runs)[:MOST_PINNED]
        return _default_pins(runs)

    def _details(self, reader: Reader, wanted: StateRequest, pinned: tuple[str, ...]) -> dict[str, Detail]:
        details: dict[str, Detail] = {}
        for run_id in dict.fromkeys((*pinned, *wanted.looked_at)):
            if run_id not in self._runs:
                continue
            record = self._record(reader, run_id)
            progress = reader.progress(run_id) if state_shown(record.run) in ACTIVE_STATES else None
            points = self._train_points(reader, run_id)
            details[run_id] = Detail(record, progress, tuple(self._window(reader, wanted, run_id)), points)
        self._points = {run_id: self._points[run_id] for run_id in details}
        self._records = {run_id: self._records[run_id] for run_id in details}
        return details

    def _record(self, reader: Reader, run_id: str) -> RunRecord:
        known = self._records.get(run_id)
        if known is None or run_id in self._stale:
            known = reader.record(self._runs[run_id])
            self._records[run_id] = known
            self._figures[run_id] = _figures(known)
            self._stale.discard(run_id)
        return known

    def _train_points(self, reader: Reader, run_id: str) -> tuple[TrainPoint, ...]:
        """Return a run's training curve: new points are read, and all of them where older ones have been joined."""
        held = self._points.get(run_id, ())
        if held and reader.count_train_points(run_id, held[-1].step) != len(held):
            held = ()
        new = reader.train_points(run_id, after=held[-1].step if held else 0)
        self._points[run_id] = (*held, *new) if new else held
        return self._points[run_id]

    def _window(self, reader: Reader, wanted: StateRequest, run_id: str) -> list[SampleRow]:
        """Return a run's samples in the window: new ones are read, old ones dropped."""
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

    def _predict(self, reader: Reader, runs: list[Run], changed: bool) -> None:
        """Predict the time of each queued run, at most every `_FORECAST_EVERY_S`."""
        queued = [run for run in runs if run.state == "queued"]
        if not queued:
            self._times = {}
            return
        self._forecast_due |= changed
        asked_before = all(run.id in self._times for run in queued)
        due = self._forecast_due and time.monotonic() - self._predicted_at >= _FORECAST_EVERY_S
        if asked_before and not due:
            return
        self._forecast_due = False
        self._predicted_at = time.monotonic()
        requests = [PlannedRun.of(run) for run in queued]
        times = forecast(requests, reader.judging([request.key for request in requests], self.host), self.host)
        self._times = {run.id: estimate.wall_s for run, estimate in zip(queued, times, strict=True)}

    def _lines(
        self, reader: Reader, wanted: StateRequest, runs: list[Run], details: dict[str, Detail]
    ) -> tuple[RunLine, ...]:
        if self._stale:
            self._fill(reader, wanted, runs)
        lines = []
        for run in runs:
            line = self._ended_lines.get(run.id)
            if line is None:
                before, line = self._lines_before.get(run.id), self._line(reader, run, details.get(run.id))
                line = self._lines_before[run.id] = before if before == line else line
            lines.append(line)
        if len(lines) != len(self._listed) or any(new is not old for new, old in zip(lines, self._listed, strict=True)):
            self._listed = tuple(lines)
        return self._listed

    def _fill(self, reader: Reader, wanted: StateRequest, runs: list[Run]) -> None:
        """Read the figures of runs that are not drawn: on-screen runs first, others within the time budget."""
        begun = time.monotonic()
        shown = set(wanted.shown)
        for run in (*(r for r in runs if r.id in shown), *(r for r in runs if r.id not in shown)):
            if run.id not in self._stale:
                continue
            if run.id not in shown and time.monotonic() - begun > _BUDGET_S:
                return
            self._figures[run.id] = _figures(reader.record(run)) if run.started_at else Figures()
            self._stale.discard(run.id)

    def _line(self, reader: Reader, run: Run, detail: Detail | None) -> RunLine:
        if run.state not in ACTIVE_STATES:
            line = RunLine(run, run.state, None, self._figures.get(run.id, Figures()))
            if run.id not in self._stale:
                self._ended_lines[run.id] = line
            return line
        figures = self._figures.get(run.id, Figures())
        if run.state == "queued":
            return RunLine(run, run.state, None, replace(figures, left_s=self._times.get(run.id)))
        state = state_shown(run)
        if state not in ACTIVE_STATES:  # the worker is gone, but the row is not updated yet: its progress is obsolete
            return RunLine(run, state, None, figures)
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
        return RunLine(run, state, progress, replace(figures, left_s=left_s))


def _figures(record: RunRecord) -> Figures:
    spent = cost(record)
    joules = None if spent.run_wh is None else spent.run_wh * 3600
    return Figures(best_gap(record), spent.vram_mib, spent.peak_rss_mib, joules)


def _default_pins(runs: Iterable[Run]) -> tuple[str, ...]:
    """Return the runs to draw by default: active ones, then the newest, all of one workload."""
    known = list(runs)
    working = [run for run in known if run.state in ACTIVE_STATES and run.state != "queued"]
    ended = [run for run in known if run.epochs_done and run not in working]
    candidates = [*working, *ended]
    same = [run for run in candidates if run.workload == candidates[0].workload]
    return tuple(run.id for run in same[:PINNED_BY_ITSELF])
