"""Cost of a run, computed from its phases: time, throughput, memory, power and energy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import Literal

from peftbench.analysis.scores import headlines, run_sign
from peftbench.metrics import sign_of
from peftbench.store.rows import INTEGRATED_INSTEAD, Phase, Run, RunRecord, Usage

EnergySource = Literal["counter", "integrated"]
VramSource = Literal["process", "device", "reserved"]

COLD_SHARE = 0.02  # fraction of a run's time spent on tokenisation above which its time and energy are not comparable


@dataclass(frozen=True, slots=True)
class Cost:
    """Time, throughput, memory and energy of a run; figures of the study's tables by task. Unknown: None or absent.

    `its` is the number of optimiser steps per second in `train` of one task. `train_s` excludes warm-up, evaluation,
    checkpoints, the preparation of batches, and `frozen_features_s`, the single pass through the layers below the first
    trained one; `run_s` includes everything. Power and energy are those of the GPU, not of the system, with idle power
    included; `power_w`, `j_per_step` and `j_per_1k_examples` refer to `train` including the preparation of batches.
    `vram_mib` is this process's memory on the card (CUDA context included), else the increase of the card's used
    memory, else torch's reserved memory. It and torch's peaks refer to training; `eval_vram_mib` to evaluation.
    `peak_rss_mib` refers to training and evaluation, since loading takes more where data must be tokenised.
    `cold_cache`: tokenisation took at least `COLD_SHARE` of the run, so that its total time and energy are not
    comparable with those of a run that found its tokens in the cache.
    """

    train_s: float | None
    frozen_features_s: float | None
    eval_s: float | None
    load_s: float | None
    run_s: float | None
    its: dict[str, float]
    examples_per_s: float | None
    tokens_per_s: float | None
    step_ms_median: dict[str, float]
    peak_rss_mib: float | None
    vram_mib: float | None = None
    vram_source: VramSource | None = None
    peak_allocated_mib: float | None = None
    peak_reserved_mib: float | None = None
    eval_vram_mib: float | None = None
    power_w: dict[str, float] = field(default_factory=dict)
    j_per_step: dict[str, float] = field(default_factory=dict)
    j_per_1k_examples: dict[str, float] = field(default_factory=dict)
    energy_source: EnergySource | None = None
    run_wh: float | None = None
    net_wh: float | None = None  # run_wh less the idle power over the same time
    idle_power_w: float | None = None
    cpu_wh: float | None = None
    cpu_power_w: float | None = None  # of `train`, from RAPL's counter
    cold_cache: bool = False


@dataclass(frozen=True, slots=True)
class Reached:
    """Cost of reaching a score: GPU energy and time from the start of training, evaluation included."""

    epoch: int
    value: float
    energy_j: float | None
    seconds: float | None


def cost(record: RunRecord) -> Cost:
    """Return the cost of a run from its phases. Figures that were not measured are None."""
    train = [phase for phase in record.phases if phase.phase == "train"]
    of_task = {task: [phase for phase in train if phase.task == task] for task in record.tasks}
    of_task = {task: phases for task, phases in of_task.items() if phases}
    medians = {
        task: _median([p.step_ms_median for p in phases if p.step_ms_median is not None])
        for task, phases in of_task.items()
    }
    training = [phase for phase in record.phases if phase.phase in ("warmup", "train")]
    vram, source = _vram(training)
    run_wh, net_wh, idle_w = _run_energy(record.phases)
    return Cost(
        train_s=_wall(record, "train"),
        frozen_features_s=_wall(record, "frozen_features"),
        eval_s=_wall(record, "eval"),
        load_s=_wall(record, "load"),
        run_s=_run_s(record),
        its=_by_task(of_task, lambda phases: _rate(phases, "steps")),
        examples_per_s=_rate(train, "examples"),
        tokens_per_s=_rate(train, "tokens"),
        step_ms_median={task: value for task, value in medians.items() if value is not None},
        peak_rss_mib=_peak_rss_mib(record.phases),
        vram_mib=vram,
        vram_source=source,
        peak_allocated_mib=peak(training, "peak_allocated_mib"),
        peak_reserved_mib=peak(training, "peak_reserved_mib"),
        eval_vram_mib=_vram(phase for phase in record.phases if phase.phase == "eval")[0],
        power_w=_by_task(of_task, mean_power_w),
        j_per_step=_by_task(of_task, lambda phases: joules_per(phases, "steps")),
        j_per_1k_examples=_by_task(of_task, lambda phases: _times(1000, joules_per(phases, "examples"))),
        energy_source=next((reading[1] for p in train if p.usage and (reading := energy(p.usage))), None),
        run_wh=run_wh,
        net_wh=net_wh,
        idle_power_w=idle_w,
        cpu_wh=_times(1 / 3600, _of_whole(record.phases, "cpu_energy_j")),
        cpu_power_w=_cpu_power_w(train),
        cold_cache=(tokenising_share(record) or 0) >= COLD_SHARE,
    )


def tokenising_share(record: RunRecord) -> float | None:
    """Return the fraction of a run's time spent on tokenising data not in the cache; None if unknown."""
    seconds, run_s = (record.run.conditions.get("tokenised") or {}).get("seconds"), _run_s(record)
    return min(1.0, seconds / run_s) if seconds is not None and run_s else None


def _peak_rss_mib(phases: Sequence[Phase]) -> float | None:
    """Return the peak RSS (MiB) in training and evaluation; of the whole run if it is unknown by phase."""
    for names in (("warmup", "train", "eval"), None):
        peaks = [p.peak_rss_mib for p in phases if p.peak_rss_mib is not None and (names is None or p.phase in names)]
        if peaks:
            return max(peaks)
    return None


def energy(usage: Usage) -> tuple[float, EnergySource] | None:
    """Return the energy of a window in J, and its source: the card's counter, else the integral of sampled power."""
    if usage.energy_j is not None:
        return usage.energy_j, "counter"
    if usage.energy_integrated_j is not None and usage.missing.get("energy_j") in INTEGRATED_INSTEAD:
        return usage.energy_integrated_j, "integrated"
    return None


def joules_per(phases: Iterable[Phase], counted: Literal["steps", "examples"]) -> float | None:
    """Return joules per step or example over the phases with known energy; None if there are none."""
    known = [(reading[0], getattr(p, counted)) for p in phases if p.usage and (reading := energy(p.usage))]
    count = sum(number or 0 for _, number in known)
    return sum(joules for joules, _ in known) / count if count else None


def mean_power_w(phases: Iterable[Phase]) -> float | None:
    """Return the mean power in W over the windows in which it is known, weighted by their duration."""
    known = [(p.usage.power_w, p.usage.window_s) for p in phases if p.usage and p.usage.power_w is not None]
    seconds = sum(window_s for _, window_s in known)
    return sum(power_w * window_s for power_w, window_s in known) / seconds if seconds else None


def _cpu_power_w(phases: Iterable[Phase]) -> float | None:
    """Return the mean power of the CPU in W over the windows in which its energy is known."""
    known = [(p.usage.cpu_energy_j, p.usage.window_s) for p in phases if p.usage and p.usage.cpu_energy_j is not None]
    seconds = sum(window_s for _, window_s in known)
    return sum(joules for joules, _ in known) / seconds if seconds else None


def peak(phases: Iterable[Phase], name: str) -> float | None:
    """Return the maximum of a field of `Usage` over phases; None if no phase has it."""
    values = [getattr(p.usage, name) for p in phases if p.usage is not None]
    return max((value for value in values if value is not None), default=None)


def reach(record: RunRecord, target: float, task: str | None = None) -> Reached | None:
    """Return the cost of first reaching a dev target in a task's metric, or in Dev Avg; None if it was not reached.

    Of an error, a target is reached by a value that is not above it.
    """
    sign = run_sign(record.run) if task is None else sign_of(headlines(record.run)[task])
    for epoch in record.epochs:
        score = record.score(task, "dev", epoch.epoch) if task else None
        value = epoch.dev_avg if task is None else score.value if score else None
        if value is not None and sign * value >= sign * target:
            return Reached(epoch.epoch, value, *since_training_began(record, epoch.epoch))
    return None


def since_training_began(record: RunRecord, epoch: int) -> tuple[float | None, float | None]:
    """Return the joules and seconds from the end of the last phase before the first epoch to the end of an epoch.

    For a resumed run, return the sums over the phases of these epochs, which exclude the time between its workers.
    """
    if record.run.attempt > 1:
        return _of_epochs([phase for phase in record.phases if phase.epoch is not None and phase.epoch <= epoch])
    before = takewhile(lambda phase: phase.epoch is None, record.phases)
    start = next((phase.usage for phase in reversed(list(before))), None)
    end = next((p.usage for p in reversed(record.phases) if p.epoch == epoch), None)
    if start is None or end is None:
        return None, None
    joules = None
    if start.energy_so_far_j is not None and end.energy_so_far_j is not None:
        joules = end.energy_so_far_j - start.energy_so_far_j
    return joules, end.started_s + end.window_s - start.started_s - start.window_s


def _of_epochs(phases: Sequence[Phase]) -> tuple[float | None, float | None]:
    """Return the sums of joules and seconds over phases; None if the value of one is unknown."""
    usages = [phase.usage for phase in phases]
    known = [reading[0] for usage in usages if usage and (reading := energy(usage))]
    seconds = [usage.window_s for usage in usages if usage]
    complete = len(seconds) == len(phases)
    return sum(known) if len(known) == len(phases) else None, sum(seconds) if complete else None


def _vram(phases: Iterable[Phase]) -> tuple[float | None, VramSource | None]:
    rows = list(phases)
    columns: tuple[tuple[VramSource, str], ...] = (
        ("process", "process_vram_mib"),
        ("device", "device_delta_mib"),
        ("reserved", "peak_reserved_mib"),
    )
    for source, column in columns:
        if (mib := peak(rows, column)) is not None:
            return mib, source
    return None, None


def _run_energy(phases: Iterable[Phase]) -> tuple[float | None, float | None, float | None]:
    """Return a run's GPU energy in Wh, the same less idle energy, and the idle power in W."""
    rows = list(phases)
    idle_w = next((p.usage.power_w for p in rows if p.phase == "idle" and p.usage), None)
    usages = _whole(rows)
    readings = [energy(usage) for usage in usages]
    joules = [each[0] for each in readings if each is not None]
    if not usages or len(joules) < len(usages):
        return None, None, idle_w
    net = None if idle_w is None else (sum(joules) - idle_w * sum(usage.window_s for usage in usages)) / 3600
    return sum(joules) / 3600, net, idle_w


def _whole(phases: Iterable[Phase]) -> list[Usage]:
    """Return the usage over the whole process of each of a run's workers; empty if one ended without recording it."""
    rows = list(phases)
    usages = [phase.usage for phase in rows if phase.phase == "run" and phase.usage]
    return usages if len(usages) == max((phase.attempt for phase in rows), default=0) else []


def _of_whole(phases: Iterable[Phase], name: str) -> float | None:
    values = [getattr(usage, name) for usage in _whole(phases)]
    return sum(values) if values and None not in values else None


def _by_task(of_task: dict[str, list[Phase]], figure: Callable[[list[Phase]], float | None]) -> dict[str, float]:
    return {task: value for task, phases in of_task.items() if (value := figure(phases)) is not None}


def _times(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value


def _wall(record: RunRecord, name: str) -> float | None:
    seconds = [phase.wall_s for phase in record.phases if phase.phase == name]
    return sum(seconds) if seconds else None


def _rate(phases: list[Phase], counted: str) -> float | None:
    counts = [getattr(phase, counted) for phase in phases]
    wall_s = sum(phase.wall_s for phase in phases)
    return sum(counts) / wall_s if wall_s and None not in counts else None


def _median(values: list[float]) -> float | None:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if not ordered:
        return None
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _run_s(record: RunRecord) -> float | None:
    """Return a run's duration in seconds; for a resumed run the sum over its workers, None if one is unknown."""
    return elapsed_s(record.run) if record.run.attempt <= 1 else _of_whole(record.phases, "window_s")


def elapsed_s(run: Run) -> float | None:
    """Return the seconds from a run's start to its end; None if one is missing or the clock was set back."""
    if run.started_at is None or run.finished_at is None:
        return None
    try:
        started, finished = datetime.fromisoformat(run.started_at), datetime.fromisoformat(run.finished_at)
        took = (finished - started).total_seconds()
    except (ValueError, TypeError):  # not a timestamp, or only one of them with a time zone
        return None
    return took if took > 0 else None
