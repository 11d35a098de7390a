"""How far a run's measurements can be trusted: flags, from what was stored. Pure functions over rows.

A flag says that a figure of cost is not what it would be on a quiet, locked, well-read machine. It says nothing
about the scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from peftbench.analysis.resources import energy, peak
from peftbench.store.rows import Phase, RunRecord, Usage

DISAGREEMENT = 0.05  # of counter and integral
LONG_ENOUGH_S = 4.0  # for that: both ends of a counter may be 0.1 s old
FEWEST_SAMPLES = 60  # for a figure of power (MLPerf Training's power rules)
SHORTEST_IDLE_S = 30.0
OTHERS_SHARE = 0.1  # of the cores, used by others, in the mean
CLOCK_OFF = 0.02
_THROTTLE = {
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}


@dataclass(frozen=True, slots=True)
class Flag:
    """One doubt: a short name to select by, and a sentence."""

    name: str
    message: str


def flags(record: RunRecord) -> list[Flag]:
    """Return the doubts about a run's measurements; of a run from before there were meters, none."""
    measured = [phase for phase in record.phases if phase.usage is not None]
    if not measured:
        return []
    return [*_device(record), *_card(record, measured), *_power(record, measured), *_host(record, measured)]


def throttled(usage: Usage) -> list[str]:
    """Return the reasons, thermal or of the hardware, for which the card ran slower; power capping is none."""
    return [name for bit, name in _THROTTLE.items() if (usage.event_reasons or 0) & bit]


def _device(record: RunRecord) -> Iterator[Flag]:
    conditions = record.run.conditions
    if conditions.get("gpu_computes"):
        lock = conditions.get("clock_lock")
        if lock is None:
            yield Flag("clocks_not_locked", "the card's clocks were not locked (--lock-clocks MHZ)")
    elif conditions.get("gpu"):
        yield Flag("cpu_only", "computed on the CPU: the card's figures are those of a card at other work")
    else:
        yield Flag("cpu_only", "computed on the CPU: no VRAM, power or energy")
    sampler = conditions.get("sampler") or {}
    if sampler.get("failure"):
        yield Flag("meter_failed", "a meter failed in a way that it must not; see conditions.sampler.failure")


def _card(record: RunRecord, measured: list[Phase]) -> Iterator[Flag]:
    work = [phase for phase in measured if phase.phase in ("warmup", "train", "eval", "prefix")]
    if foreign := peak(measured, "foreign_processes"):
        yield Flag("shared_gpu", f"up to {foreign:.0f} other process{'es' * (foreign > 1)} on the card")
    reasons = {reason: None for phase in work for reason in throttled(_usage(phase))}
    if reasons:
        slow_s = sum(_usage(phase).throttled_s or 0 for phase in work)
        yield Flag("throttled", f"throttled for {slow_s:.1f} s of {_seconds(work):.1f} s: {', '.join(reasons)}")
    lock = record.run.conditions.get("clock_lock")
    if lock and (lock.get("held") is False or _off_clock(work, lock["asked_mhz"])):
        ran = _off_clock(work, lock["asked_mhz"]) or lock.get("read_mhz")
        yield Flag("clocks_not_held", f"locked at {lock['asked_mhz']} MHz, but the card ran at {ran:.0f} MHz")
    if lock and lock.get("undone") is False:
        yield Flag("clocks_left_locked", "the lock of the clocks could not be undone: nvidia-smi -rgc, as root")
    lost = sorted({name for phase in measured for name, why in _usage(phase).missing.items() if why == "lost"})
    if lost:
        yield Flag("lost", f"unreadable for a part of the run: {', '.join(lost)}")


def _off_clock(work: list[Phase], asked_mhz: float) -> float | None:
    """Return the mean SM clock of the phase that was furthest from what was asked for, if that is too far."""
    found = [_usage(p).sm_clock_mhz for p in work if p.phase == "train"]
    clocks = [clock for clock in found if clock is not None]
    furthest = max(clocks, key=lambda clock: abs(clock - asked_mhz), default=None)
    off = furthest is not None and abs(furthest - asked_mhz) > CLOCK_OFF * asked_mhz
    return furthest if off else None


def _power(record: RunRecord, measured: list[Phase]) -> Iterator[Flag]:
    if peak(measured, "power_w") is None:
        return
    gpu = record.run.conditions.get("gpu") or {}
    whole = next((phase for phase in measured if phase.phase == "run"), None)
    compared = [whole] if whole else [phase for phase in measured if phase.phase == "train"]
    for phase in compared:
        usage = _usage(phase)
        counted, integrated = usage.energy_j, usage.energy_integrated_j
        if counted and integrated is not None and usage.window_s >= LONG_ENOUGH_S:
            off = integrated / counted - 1
            if abs(off) > DISAGREEMENT:
                yield Flag("counter_disagrees", f"integrated power gives {off:+.1%} of the energy counter's joules")
                break
    if resets := sum(_usage(phase).counter_resets for phase in compared):
        yield Flag("counter_reset", f"the energy counter was reset {resets} times; integrated power fills the gap")
    train = [phase for phase in measured if phase.phase == "train"]
    if train and not any(energy(_usage(phase)) for phase in train):
        if all(_usage(phase).missing.get("energy_j") == "short" for phase in train):
            yield Flag("short_window", "no training phase lasted a second: no energy is given")
    else:
        few = {t: sum(_usage(p).samples for p in train if p.task == t) for t in dict.fromkeys(p.task for p in train)}
        short = [f"{task} {count}" for task, count in few.items() if count < FEWEST_SAMPLES]
        if short:
            yield Flag("short_window", f"power is indicative: fewer than {FEWEST_SAMPLES} samples ({', '.join(short)})")
    idle = next((phase for phase in measured if phase.phase == "idle"), None)
    if idle is None:
        yield Flag("no_idle", "idle power was not measured (--idle SECONDS)")
    elif round(idle.wall_s, 1) < SHORTEST_IDLE_S:
        yield Flag("short_idle", f"idle power is indicative: {idle.wall_s:.0f} s, not {SHORTEST_IDLE_S:.0f} s (--idle)")
    if gpu.get("part_time_sensor"):
        yield Flag("part_time_sensor", "this card's power sensor looks about a quarter of the time (arXiv 2312.02741)")
    if gpu.get("mig"):
        yield Flag("mig", "a MIG slice: the card's power is not this run's alone")


def _host(record: RunRecord, measured: list[Phase]) -> Iterator[Flag]:
    if (swap := peak(measured, "swap_mib") or 0) >= 1:
        yield Flag("swap", f"{swap:.0f} MiB of the process lay in swap")
    cores = record.run.conditions.get("cores")
    work = [p for p in measured if p.phase in ("train", "eval", "prefix") and _usage(p).others_cpu_s is not None]
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
