"""What the dashboard shows at one moment: frozen, so that the thread that reads and the screens can share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from peftbench.store.rows import Progress, Run, RunRecord, SampleRow, State
from peftbench.tui.machine import Machine


@dataclass(frozen=True, slots=True)
class Figures:
    """What the runs table says of a run beside its row in the store. None: not known, or not yet read."""

    gap: float | None = None  # train less dev at the best epoch
    vram_mib: float | None = None
    rss_mib: float | None = None  # the process's peak
    energy_j: float | None = None
    left_s: float | None = None  # until it ends, or, where it is queued, how long it will take


@dataclass(frozen=True, slots=True)
class Line:
    """A run in the table."""

    run: Run
    state: State  # as a person should read it now
    progress: Progress | None = None
    figures: Figures = Figures()


@dataclass(frozen=True, slots=True)
class Detail:
    """All of a run that is drawn or looked at: its rows, and its samples in the window that was asked for."""

    record: RunRecord
    progress: Progress | None = None
    samples: tuple[SampleRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the screens want to know of beside the list of all runs.

    `pinned`: runs to read whole, in the order of their markers; None: those the source finds worth it. `looked_at`:
    others to read whole. `window_s`: so many seconds of samples; None: all of the run, summed up. `shown`: runs whose
    figures come first.
    """

    pinned: tuple[str, ...] | None = None
    looked_at: tuple[str, ...] = ()
    window_s: int | None = 300
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The dashboard's world.

    `problem` says why the runs cannot be read (now); the lines are then those of before. `details` has the pinned runs,
    in their order, and those looked at.
    """

    now_s: float
    lines: tuple[Line, ...] = ()
    pinned: tuple[str, ...] = ()
    details: Mapping[str, Detail] = field(default_factory=dict)
    machine: Machine = field(default_factory=Machine)
    problem: str | None = None
    read: bool = True  # False: nothing was read yet
    broken: bool = False  # the runs cannot be read at all, now

    def line(self, run_id: str | None) -> Line | None:
        """Return a run's line; None where it is not there (any more)."""
        return next((line for line in self.lines if line.run.id == run_id), None)
