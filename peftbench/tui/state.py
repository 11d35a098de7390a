"""Immutable state of the dashboard, shared by the reading thread and the screens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from peftbench.store.rows import Progress, Run, RunRecord, SampleRow, State, TrainPoint
from peftbench.tui.machine import Machine


@dataclass(frozen=True, slots=True)
class Figures:
    """Values of the runs table that are not in a run's row. None: unknown, or not read yet."""

    gap: float | None = None  # train less dev at the best epoch
    vram_mib: float | None = None
    rss_mib: float | None = None  # peak of the process
    energy_j: float | None = None
    left_s: float | None = None  # time until it ends; of a queued run, its predicted duration


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in the table."""

    run: Run
    state: State  # as shown now: `lost` and `stalled` are derived
    progress: Progress | None = None
    figures: Figures = Figures()


@dataclass(frozen=True, slots=True)
class Detail:
    """All data of a run that is drawn or opened: its rows, its samples in the requested window, its training curve."""

    record: RunRecord
    progress: Progress | None = None
    samples: tuple[SampleRow, ...] = ()
    points: tuple[TrainPoint, ...] = ()


@dataclass(frozen=True, slots=True)
class StateRequest:
    """Request of the screens: what to read besides the list of all runs.

    `pinned`: runs to read in full, in the order of their markers; None: the source chooses. `looked_at`: further runs
    to read in full. `window_s`: window of samples in seconds; None: the whole run, aggregated. `shown`: on-screen runs,
    whose figures are read first. `most`: number of newest runs to list, besides those that have not ended.
    """

    pinned: tuple[str, ...] | None = None
    looked_at: tuple[str, ...] = ()
    window_s: int | None = 300
    shown: tuple[str, ...] = ()
    most: int = 500


@dataclass(frozen=True, slots=True)
class DashboardState:
    """All data that the dashboard shows at one point in time.

    `problem`: why runs cannot be read; `lines` are then the previous ones. `details`: the pinned runs, in their order,
    and those opened. `total`: number of runs in the database; None: all of them are in `lines`. `differs`: by run id,
    the settings in which runs of one preset differ.
    """

    now_s: float
    lines: tuple[RunLine, ...] = ()
    pinned: tuple[str, ...] = ()
    details: Mapping[str, Detail] = field(default_factory=dict)
    machine: Machine = field(default_factory=Machine)
    problem: str | None = None
    read: bool = True  # False: nothing has been read yet
    broken: bool = False  # the database cannot be read at present
    total: int | None = None
    differs: Mapping[str, str] = field(default_factory=dict)

    def line(self, run_id: str | None) -> RunLine | None:
        """Return a run's line, or None if it does not exist (any more)."""
        return next((line for line in self.lines if line.run.id == run_id), None)
