"""Flags: doubts about a run's measurements, from its stored rows. Pure functions.

A flag says that a figure of cost is not what it would be on a quiet machine with locked clocks and working sensors.
It says nothing about the scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from peftbench.analysis.cost import COLD_SHARE, energy, peak, tokenising_share
from peftbench.store.conditions import ClockLockConditions
from peftbench.store.rows import THROTTLING, Phase, RunRecord, Usage, reasons

DISAGREEMENT = 0.05  # relative, between energy counter and integrated power
LONG_ENOUGH_S = 4.0  # shortest window for that comparison: both counter readings may be 0.1 s old
FEWEST_SAMPLES = 60  # for a figure of power (MLPerf Training's power rules)
SHORTEST_S = 6.0  # likewise: as many samples of a sensor that is updated ten times a second
SLOWEST_MS = 1000.0
SHORTEST_IDLE_S = 30.0
OTHERS_SHARE = 0.1  # mean share of the cores used by other processes
CLOCK_OFF = 0.02
_ENERGIES = ("energy_j", "energy_integrated_j")


@dataclass(frozen=True, slots=True)
class Flag:
    """One doubt: a short name to select by, and a message."""

    name: str
    message: str


def flags(record: RunRecord) -> list[Flag]:
    """Return the doubts about a run's measurements; none for a run from before there were meters."""
    measured = [phase for phase in record.phases if phase.usage is not None]
    if not measured:
        return []
    views = (_device(record), _card(record, measured), _power(record, measured), _host(record, measured))
    return [*_attempts(record, measured), *chain.from_iterable(views)]


def _attempts(record: RunRecord, measured: list[Phase]) -> Iterator[Flag]:
    workers = record.run.attempt
    if workers > 1:
        silent = workers - len({phase.attempt for phase in measured if phase.phase == "run"})
        lost = f"; {silent} left no final measurement, so the run's total time and energy are unknown" if silent else ""
        yield Flag("resumed", f"run by {workers} workers one after another{lost}")


def throttled(usage: Usage) -> list[str]:
    """Return the thermal and hardware reasons for which the GPU was throttled; power capping does not count."""
    return reasons((usage.event_reasons or 0) & THROTTLING)


def _device(record: RunRecord) -> Iterator[Flag]:
    conditions = record.run.conditions
    if conditions.get("gpu_computes"):
        lock = conditions.get("clock_lock")
        if not conditions.get("gpu"):
            detail = (conditions.get("meters") or {}).get("nvml", {}).get("detail")
            yield Flag("card_not_read", f"NVML did not read the card: {detail}")
        elif lock is None:
            yield Flag("clocks_not_locked", "the card's clocks were not locked (--lock-clocks MHZ)")
    elif conditions.get("gpu"):
        yield Flag("cpu_only", "computed on the CPU: the card's figures are those of other work on it")
    else:
        yield Flag("cpu_only", "computed on the CPU: no VRAM, power or energy")
    sampler = conditions.get("sampler") or {}
    if sampler.get("failure"):
        yield Flag("meter_failed", "a meter failed unexpectedly; see conditions.sampler.failure")


def _card(record: RunRecord, measured: list[Phase]) -> Iterator[Flag]:
    work = [phase for phase in measured if phase.phase in ("warmup", "train", "eval", "frozen_features")]
    if foreign := peak(measured, "foreign_processes"):
        yield Flag("shared_gpu", f"up to {foreign:.0f} other process{'es' * (foreign > 1)} on the card")
    slowed = dict.fromkeys(reason for phase in work for reason in throttled(_usage(phase)))
    slow_s = sum(max(_usage(phase).throttled_s or 0, _usage(phase).violation_thermal_s or 0) for phase in work)
    if slowed or slow_s:
        cause = ", ".join(slowed) or "thermal violation"
        yield Flag("throttled", f"throttled for {slow_s:.1f} s of {_seconds(work):.1f} s: {cause}")
    lock = record.run.conditions.get("clock_lock")
    if lock and (ran := _off_clock(work, lock)) is not None:
        yield Flag("clocks_not_held", f"locked at {lock['asked_mhz']} MHz, but the card ran at {ran:.0f} MHz")
    if lock and lock.get("undone") is False:
        yield Flag("clocks_left_locked", "the lock of the clocks could not be undone: nvidia-smi -rgc, as root")
    lost = sorted({name for phase in measured for name, cause in _usage(phase).missing.items() if cause == "lost"})
    if lost:
        yield Flag("lost", f"unreadable for a part of the run: {', '.join(lost)}")


def _off_clock(work: list[Phase], lock: ClockLockConditions) -> float | None:
    """Return the SM clock that deviates most from the locked one, if by more than `CLOCK_OFF`.

    Clocks of training count; the one read back at rest only where those are not known.
    """
    readings = [_usage(p).sm_clock_mhz for p in work if p.phase == "train"]
    clocks: list[float] = [clock for clock in readings if clock is not None]
    if not clocks:
        return lock.get("read_mhz") if lock.get("held") is False else None
    furthest = max(clocks, key=lambda clock: abs(clock - lock["asked_mhz"]))
    return furthest if abs(furthest - lock["asked_mhz"]) > CLOCK_OFF * lock["asked_mhz"] else None


def _power(record: RunRecord, measured: list[Phase]) -> Iterator[Flag]:
    gpu = record.run.conditions.get("gpu") or {}
    if gpu.get("mig"):
        yield Flag("mig", "a MIG slice: power is the whole card's, and not given")
    if peak(measured, "power_w") is None:
        return
    yield from _counter(measured)
    train = [phase for phase in measured if phase.phase == "train"]
    if train and not any(energy(_usage(phase)) for phase in train):
        if all("short" in (_usage(p).missing.get(name) for name in _ENERGIES) for p in train):
            yield Flag("short_window", "no training phase lasted a second: no energy is given")
    elif few := _too_few(train):
        yield Flag("short_window", f"power is indicative: under {FEWEST_SAMPLES} samples or {SHORTEST_S:.0f} s ({few})")
    cadence_ms = (record.run.conditions.get("sampler") or {}).get("median_ms")
    if cadence_ms is not None and cadence_ms > SLOWEST_MS:
        yield Flag("sparse_samples", f"power was read every {cadence_ms / 1e3:.1f} s, not at least once a second")
    idle = next((phase for phase in measured if phase.phase == "idle"), None)
    if idle is None:
        yield Flag("no_idle", "idle power was not measured (--idle SECONDS)")
    elif round(idle.wall_s, 1) < SHORTEST_IDLE_S:
        yield Flag("short_idle", f"idle power is indicative: {idle.wall_s:.0f} s, not {SHORTEST_IDLE_S:.0f} s (--idle)")
    if gpu.get("part_time_sensor"):
        yield Flag(
            "part_time_sensor", "this card's power sensor measures about a quarter of the time (arXiv 2312.02741)"
        )


def _counter(measured: list[Phase]) -> Iterator[Flag]:
    """Check the energy counter over the whole run, or over the training phases where the run has no end."""
    run_phases = [phase for phase in measured if phase.phase == "run"]
    compared = [_usage(phase) for phase in run_phases or [phase for phase in measured if phase.phase == "train"]]
    for usage in compared:
        counted, integrated = usage.energy_j, usage.energy_integrated_j
        if counted and integrated is not None and usage.window_s >= LONG_ENOUGH_S:
            off = integrated / counted - 1
            if abs(off) > DISAGREEMENT:
                yield Flag("counter_disagrees", f"integrated power gives {off:+.1%} of the energy counter's joules")
                break
    if any(usage.missing.get("energy_j") == "stuck" for usage in compared):
        yield Flag("counter_stuck", "the energy counter does not move; energy is integrated power")
    if resets := sum(usage.counter_resets for usage in compared):
        yield Flag("counter_reset", f"the energy counter was reset {resets} times; integrated power fills the gap")


def _too_few(train: list[Phase]) -> str:
    """Return the tasks whose training has too few samples, or is too short, for a figure of power."""
    tasks = []
    for task in dict.fromkeys(phase.task for phase in train):
        phases = [phase for phase in train if phase.task == task]
        count, seconds = sum(_usage(p).samples for p in phases), _seconds(phases)
        if count < FEWEST_SAMPLES or seconds < SHORTEST_S:
            tasks.append(f"{task} {count} in {seconds:.1f} s")
    return ", ".join(tasks)


def _host(record: RunRecord, measured: list[Phase]) -> Iterator[Flag]:
    if (share := tokenising_share(record) or 0) >= COLD_SHARE:
        seconds = record.run.conditions["tokenised"]["seconds"]
        yield Flag(
            "cold_cache",
            f"tokenised its data, {seconds:.1f} s or {share:.0%} of the run: the next run reads tokens from the cache",
        )
    if (swap := peak(measured, "swap_mib") or 0) >= 1:
        yield Flag("swap", f"{swap:.0f} MiB of the process were in swap")
    cores = record.run.conditions.get("cores")
    work = [
        p for p in measured if p.phase in ("train", "eval", "frozen_features") and _usage(p).others_cpu_s is not None
    ]
    seconds = _seconds(work)
    if cores and seconds:
        others = sum(_usage(phase).others_cpu_s or 0 for phase in work) / seconds
        if others > OTHERS_SHARE * cores:
            yield Flag("busy_machine", f"others kept {others:.1f} of {cores} cores busy")


def _usage(phase: Phase) -> Usage:
    assert phase.usage is not None
    return phase.usage


def _seconds(phases: list[Phase]) -> float:
    return sum(_usage(phase).window_s for phase in phases)
