"""What the store hands out: frozen rows, with units in their names. No SQL and no connection here."""

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
WORKING_STATES: frozenset[State] = frozenset({"running", "stalled", "stopping"})  # a worker has it, or should
LONGEST_NAME = 200  # characters of a name that is given to a run now
LONGEST_STORED_NAME = 10_000  # of one that an earlier version may have stored: it is exported, and imported, whole
ACTIVE_STATES: frozenset[State] = WORKING_STATES | {"queued", "starting"}
RESUMABLE_STATES: frozenset[State] = frozenset({"stopped", "failed", "lost"})

ScoredSplit = Literal["dev", "test"]  # the splits whose scores are compared

Failure = Literal["out-of-memory", "data", "missing", "nan", "spec", "signal", "lost-host", "storage", "defect"]


def now() -> str:
    """Return the time as the store keeps it: UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Worker:
    """The process that executes a run, so that it can be told from another one of the same pid.

    `boot_id` is the kernel's, since its start, and behind a slash the number of the process's PID namespace, in which
    `pid` counts; without a slash in runs of before that was known. `host` is a name, which may change.
    """

    pid: int
    started_at: float
    boot_id: str
    host: str


@dataclass(frozen=True, slots=True)
class MeterSettings:
    """How a run is measured; nothing of it changes what is computed, so it is no part of the spec.

    `period_ms` None: 100 with a GPU, 500 without. `idle_s` None: 5 with a GPU whose power can be read, else none.
    `gpu` names the card to read (index or UUID) where it is not the one that torch computes on.
    """

    period_ms: int | None = None
    idle_s: float | None = None
    lock_clocks_mhz: int | None = None
    gpu: str | None = None


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a run is kept safe; nothing of it changes what is computed.

    `checkpoint_minutes`: a checkpoint is written that often within an epoch, beside the one after each epoch.
    `resumes`: how often the queue resumes the run by itself after its worker was killed or its machine went down.
    """

    checkpoint_minutes: float = 5.0
    resumes: int = 2


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How a host's queue is to work, where somebody said so.

    `slots`: so many runs at once. `cooldown_s`: a device rests so long between two runs.
    """

    slots: int | None = None
    cooldown_s: float | None = None


@lru_cache(maxsize=1024)
def _parsed(spec_json: str) -> dict[str, Any]:
    return current_spec(json.loads(spec_json))


@dataclass(frozen=True, slots=True)
class Run:
    """One run: what it is, where it stands, and its best epoch."""

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
    failure: Failure | None = None  # the kind of a failure, where it failed or was lost
    sweep: str | None = None  # the sweep or group it was queued with
    queue_position: int | None = None  # smaller ones come first
    attempt: int = 0  # number of workers that have executed it, one after another
    resumed: int = 0  # how often the queue resumed it by itself
    device: str | None = None  # the card that the queue gave it, by UUID; None: the CPU, or not yet known
    state_at: str | None = None  # since when it is in its state
    heartbeat_at: str | None = None  # the last word of its worker
    stop_requested_at: str | None = None

    @property
    def spec(self) -> dict[str, Any]:
        """The spec as a tree with current names, parsed once; do not modify it."""
        return _parsed(self.spec_json)


@dataclass(frozen=True, slots=True)
class UnreadableRun:
    """A run whose row was changed by hand or is damaged, as far as it can be told; `reason`: what is wrong with it."""

    id: str
    name: str
    created_at: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a listing is of; what is None or empty leaves all through.

    `states` are those that are stored, which may differ from what `jobs.liveness` shows. `since` and times of the store
    compare as text.
    """

    states: tuple[str, ...] = ()
    preset: str | None = None
    workload: str | None = None
    sweep: str | None = None
    since: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """One task's metric on one split after one epoch. A metric that does not exist is None, with its reason."""

    epoch: int
    task: str
    split: str
    metric: str
    value: float | None
    reason: str | None
    loss: float
    examples: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch came to over all tasks."""

    epoch: int
    dev_avg: float | None
    leaderboard: float | None
    reason: str | None
    finished_at: str


@dataclass(frozen=True, slots=True)
class Phase:
    """One measured stretch of a run. What was not measured is None."""

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
    usage: Usage | None = None  # None in runs of before there were meters
    attempt: int = 1  # of the worker that wrote it; set by the store


@dataclass(frozen=True, slots=True)
class Prediction:
    """One example of dev or test: its label, and what the run predicted."""

    task: str
    epoch: int
    example_id: str
    label: float
    prediction: float
    cluster: str | None = None  # the value of the task's `group` column, where it has one
    split: ScoredSplit = "dev"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a running run stands, a few times a second."""

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
    """Something worth telling later: a change of state, rows left out, inputs cut."""

    sequence: int
    at: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class TaskBest:
    """The epoch at which one task by itself was best on dev."""

    task: str
    epoch: int
    value: float


@dataclass(frozen=True, slots=True)
class EpochResult:
    """A finished epoch; `predictions` are those of dev, of the tasks whose best epoch it is."""

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
    """A run with all its epochs, scores and phases: what `show` and `compare` read."""

    run: Run
    epochs: tuple[Epoch, ...] = ()
    scores: tuple[Score, ...] = ()
    phases: tuple[Phase, ...] = ()
    task_bests: tuple[TaskBest, ...] = ()
    events: tuple[Event, ...] = ()
    predictions: dict[str, tuple[Prediction, ...]] = field(default_factory=dict)  # of dev, by task
    test_predictions: dict[str, tuple[Prediction, ...]] = field(default_factory=dict)

    def score(self, task: str, split: str = "dev", epoch: int | None = None) -> Score | None:
        """Return a task's score at an epoch; at the best epoch where none is given."""
        wanted = self.run.best_epoch if epoch is None else epoch
        return next((s for s in self.scores if s.task == task and s.split == split and s.epoch == wanted), None)

    def predictions_on(self, split: ScoredSplit) -> dict[str, tuple[Prediction, ...]]:
        """Return the predictions of the best epoch on a split, by task."""
        return self.test_predictions if split == "test" else self.predictions

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks in the workload's order."""
        return tuple(task["name"] for task in self.run.spec["tasks"])
