"""Meters that say what a test wants, on a clock that stands still until it is moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from peftbench.meters.readings import FIELDS, Capabilities, Missing, Reading, Sample
from peftbench.store.rows import Usage


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeMeter:
    """Reads what a function of the clock's time returns; a value that is a status is missing for it."""

    def __init__(self, clock: Clock, read: Callable[[float], Mapping[str, float | Missing]]) -> None:
        self.clock, self.read = clock, read
        self.closed = False

    def probe(self) -> Capabilities:
        return Capabilities("fake", "ok", "", dict.fromkeys(self.read(self.clock.now), "ok"))

    def sample(self) -> Reading:
        found = self.read(self.clock.now)
        values = {name: value for name, value in found.items() if not isinstance(value, str)}
        return Reading(values, {name: value for name, value in found.items() if isinstance(value, str)})

    def close(self) -> None:
        self.closed = True


def sample(at_s: float, why: Missing = "unsupported", **found: float | Missing) -> Sample:
    """Return a sample of these fields; a status stands for a missing one, and `why` for all that are not named."""
    values = {name: value for name, value in found.items() if not isinstance(value, str)}
    missing = {name: found.get(name, why) for name in FIELDS if name not in values}
    return Sample(at_s, values, missing)  # type: ignore[arg-type]


def usage(window_s: float = 10.0, **changed: object) -> Usage:
    """Return the usage of a phase on a card that has all."""
    values: dict[str, object] = {
        "started_s": 0.0,
        "samples": 100,
        "energy_j": 1000.0,
        "energy_integrated_j": 1010.0,
        "power_w": 100.0,
        "power_peak_w": 150.0,
        "process_vram_mib": 1200.0,
        "device_delta_mib": 1250.0,
        "sm_clock_mhz": 1695.0,
        "event_reasons": 0,
        "throttled_s": 0.0,
        "violation_thermal_s": 0.0,
        "foreign_processes": 0,
        "cpu_s": 9.0,
        "others_cpu_s": 0.5,
        "swap_mib": 0.0,
    }
    return Usage(window_s=window_s, **(values | changed))  # type: ignore[arg-type]
