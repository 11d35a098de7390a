"""Rows of the database as frozen dataclasses, with units in the names of fields. Contains no SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from peftbench.renames import current_spec
from peftbench.store.meter_fields import EVENT_REASONS as EVENT_REASONS
from peftbench.store.meter_fields import INTEGRATED_INSTEAD as INTEGRATED_INSTEAD
from peftbench.store.meter_fields import THROTTLING as THROTTLING
from peftbench.store.meter_fields import SampleRow as SampleRow
from peftbench.store.meter_fields import Usage as Usage
from peftbench.store.meter_fields import reasons as reasons

if TYPE_CHECKING:
    from peftbench.store.conditions import Conditions, MemoryParts
else:  # `interchange.validate` checks the types of imported runs; other versions may store other conditions
    Conditions = MemoryParts = dict[str, Any]

State = Literal["queued", "starting", "running", "stalled", "stopping", "stopped", "finished", "failed", "lost"]
WORKING_STATES: frozenset[State] = frozenset({"running", "stalled", "stopping"})  # expected to have a worker
LONGEST_NAME = 200  # characters of a new run's name
MOST_TAGS, LONGEST_TAG, LONGEST_NOTE = 32, 40, 2000  # of a run; characters
LONGEST_STORED_NAME = 10_000  # of a name stored by an earlier version, which is exported and imported unchanged
ACTIVE_STATES: frozenset[State] = WORKING_STATES | {"queued", "starting"}
RESUMABLE_STATES: frozenset[State] = frozenset({"stopped", "failed", "lost"})

ScoredSplit = Literal["dev", "test"]  # the splits whose scores are compared
Label = float | tuple[int, ...]  # of an example: a class index or a number; several labels; the tags of its tokens

Failure = Literal["out-of-memory", "data", "missing", "nan", "spec", "signal", "lost-host", "storage", "defect"]


def now() -> str:
    """Return the current time in the format of the database: UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Worker:
    """The process that executes a run, identified unambiguously even if its pid is used again.

    `boot_id` is the kernel's boot id and, after a slash, the inode number of the PID namespace in which `pid` is valid;
    earlier versions stored no namespace. `started_at` is the process's start in seconds, on Linux since boot, else Unix
    time. `host` is the host name, which may change.
    """

    pid: int
    started_at: float
    boot_id: str
    host: str


@dataclass(frozen=True, slots=True)
class MeterSettings:
    """How a run is measured. Not part of the spec, because it does not affect what is computed.

    `period_ms`: sampling period; None: 100 with a GPU, 500 without. `idle_s`: duration of the idle measurement before
    training; None: 5 with a GPU whose power can be read, else 0. `lock_clocks_mhz`: SM clock to lock; None: no lock.
    `gpu`: index or UUID of the card to read if it is not the one that torch computes on.
    """

    period_ms: int | None = None
    idle_s: float | None = None
    lock_clocks_mhz: int | None = None
    gpu: str | None = None


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Checkpoints and automatic resumption of a run. They do not affect what is computed.

    `checkpoint_minutes`: interval between checkpoints within an epoch; another one is written after each epoch.
    `resumes`: maximum number of automatic resumptions after the worker was killed or the machine went down.
    """

    checkpoint_minutes: float = 5.0
    resumes: int = 2


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Settings of a host's queue; None where not set.

    `slots`: maximum number of simultaneous runs. `cooldown_s`: idle time of a device between two runs.
    """

    slots: int | None = None
    cooldown_s: float | None = None


@lru_cache(maxsize=1024)
def _parsed(spec_json: str) -> dict[str, Any]:
    return current_spec(json.loads(spec_json))


@dataclass(frozen=True, slots=True)
class Run:
    """One run: its spec, state, measurement conditions and best epoch."""

    id: str
    name: str
    state: State
    reason: str | None
    exit_code: int | None
    preset: str
    workload: str
    method: str
    encoder: str
    seed: int
    spec_json: str
    spec_hash: str
    group_hash: str
    origins: dict[str, str]
    conditions: Conditions
    data_hash: str | None
    weights_total: int | None
    weights_trainable: int | None
    adapter_weights: dict[str, int]
    epochs_planned: int
    epochs_done: int
    best_epoch: int | None
    dev_avg: float | None
    leaderboard: float | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    worker: Worker | None
    meter_settings: MeterSettings = MeterSettings()
    memory_predicted: MemoryParts | None = None
    memory_measured: MemoryParts | None = None
    settings: RunSettings = RunSettings()
    failure: Failure | None = None  # if it failed or was lost
    sweep: str | None = None  # name of the sweep or group with which it was queued
    queue_position: int | None = None  # smaller ones come first
    attempt: int = 0  # number of workers that have executed it, one after another
    resumed: int = 0  # number of automatic resumptions
    device: str | None = None  # UUID of the card assigned by the queue; None: the CPU, or not yet assigned
    state_at: str | None = None  # time of the last change of state
    heartbeat_at: str | None = None  # time of the last sign of life from its worker
    stop_requested_at: str | None = None
    tags: tuple[str, ...] = ()
    note: str | None = None

    @property
    def spec(self) -> dict[str, Any]:
        """The spec as a tree with current names, parsed once; do not modify it."""
        return _parsed(self.spec_json)

    @property
    def folds(self) -> int | None:
        """The number of folds of the cross-validation that the run is part of; None: of none."""
        return (self.spec.get("split") or {}).get("folds")

    @property
    def fold(self) -> int | None:
        """The fold that the run tests, from 0; None without a cross-validation."""
        return (self.spec.get("split") or {}).get("fold")


@dataclass(frozen=True, slots=True)
class UnreadableRun:
    """A run whose row cannot be parsed because it was edited or damaged; `reason` names the invalid value."""

    id: str
    name: str
    created_at: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Selection of runs for a listing; a criterion that is None or empty selects all.

    `states` are stored states, which may differ from those that `jobs.liveness` shows. `since` is compared with stored
    times as text.
    """

    states: tuple[str, ...] = ()
    preset: str | None = None
    workload: str | None = None
    sweep: str | None = None
    since: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """One task's metric on one split after one epoch. An undefined metric has the value None and a `reason`."""

    epoch: int
    task: str
    split: str
    metric: str
    value: float | None
    reason: str | None
    loss: float
    examples: int


@dataclass(frozen=True, slots=True)
class InterimScore:
    """One task's metric on a fixed part of dev within an epoch, after `step` steps of the run: for display only."""

    step: int
    epoch: int
    task: str
    metric: str
    value: float | None
    reason: str | None
    loss: float
    examples: int


@dataclass(frozen=True, slots=True)
class TrainPoint:
    """Training over a few steps of one task, the last of which is the run's `step`.

    loss: mean over the steps. metric: of the batches of about the last 20 steps, with dropout on; None: undefined, or
    not recorded. lr: the highest of the last step. grad_norm: 2-norm of the last step's gradients before clipping.
    wall_s: of these steps.
    """

    step: int
    epoch: int
    task: str
    steps: int
    loss: float
    metric: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    wall_s: float | None = None


@dataclass(frozen=True, slots=True)
class Epoch:
    """Results of an epoch over all tasks; an undefined average has the value None and a `reason`."""

    epoch: int
    dev_avg: float | None
    leaderboard: float | None
    reason: str | None
    finished_at: str


@dataclass(frozen=True, slots=True)
class Phase:
    """One measured phase of a run. Values that were not measured are None."""

    phase: str
    epoch: int | None
    task: str | None
    split: str | None
    wall_s: float
    steps: int | None = None
    examples: int | None = None
    tokens: int | None = None
    step_ms_median: float | None = None
    step_ms_p5: float | None = None
    step_ms_p95: float | None = None
    peak_rss_mib: float | None = None
    usage: Usage | None = None  # None in runs of versions without meters
    attempt: int = 1  # of the worker that wrote it; set by the store


@dataclass(frozen=True, slots=True)
class Prediction:
    """A run's prediction for one example of dev or test, and the example's label.

    `label` and `prediction` are a class index or a number; of several labels an example, the indices of those it has;
    of tokens the index of each one's tag. `probabilities`: of label 1, or of each label; None where there are none.
    """

    task: str
    epoch: int
    example_id: str
    label: Label
    prediction: Label
    cluster: str | None = None  # value of the task's `group` column, if it has one
    split: ScoredSplit = "dev"
    probabilities: float | tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a running run, updated a few times a second.

    `step` of `steps` is within the phase, `done` of `total` are training steps of the run; `its`: steps per second.
    """

    epoch: int
    phase: str
    task: str | None
    step: int
    steps: int
    done: int
    total: int
    its: float | None
    at: str


@dataclass(frozen=True, slots=True)
class Event:
    """An entry in a run's log of events: a change of state, rows left out, inputs truncated."""

    sequence: int
    at: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class TaskBest:
    """The epoch with the best dev score of one task."""

    task: str
    epoch: int
    value: float


@dataclass(frozen=True, slots=True)
class EpochResult:
    """A finished epoch; `predictions` are those on dev of the tasks whose best epoch it is."""

    epoch: Epoch
    scores: Sequence[Score]
    phases: Sequence[Phase]
    best_epoch: int | None  # of the run so far, by Dev Avg
    task_bests: Sequence[TaskBest]
    predictions: Sequence[Prediction]


@dataclass(frozen=True, slots=True)
class HeldOutResult:
    """The scores of the chosen epoch on the test split, computed once, after training."""

    epoch: int
    scores: Sequence[Score]
    phases: Sequence[Phase]
    predictions: Sequence[Prediction]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run with its epochs, scores, phases and events; `predictions`, by task, is empty unless requested."""

    run: Run
    epochs: tuple[Epoch, ...] = ()
    scores: tuple[Score, ...] = ()
    phases: tuple[Phase, ...] = ()
    task_bests: tuple[TaskBest, ...] = ()
    events: tuple[Event, ...] = ()
    predictions: dict[str, tuple[Prediction, ...]] = field(default_factory=dict)  # of dev, by task
    test_predictions: dict[str, tuple[Prediction, ...]] = field(default_factory=dict)
    interim: tuple[InterimScore, ...] = ()

    def score(self, task: str, split: str = "dev", epoch: int | None = None) -> Score | None:
        """Return a task's score at an epoch; by default at the best epoch."""
        wanted = self.run.best_epoch if epoch is None else epoch
        return next((s for s in self.scores if s.task == task and s.split == split and s.epoch == wanted), None)

    def predictions_on(self, split: ScoredSplit) -> dict[str, tuple[Prediction, ...]]:
        """Return the predictions of the best epoch on a split, by task."""
        return self.test_predictions if split == "test" else self.predictions

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks in the workload's order."""
        return tuple(task["name"] for task in self.run.spec["tasks"])
