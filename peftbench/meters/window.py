"""A stretch of time summed up from the samples in it: joules, mean watts, peaks, clocks. Pure arithmetic.

A window begins and ends with a sample taken on purpose, and takes every one between: nothing has to be guessed at
its edges. What was unreadable for longer than `HOLD_S` has no sum, and keeps the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

from peftbench.meters.readings import Missing, Sample
from peftbench.store.rows import INTEGRATED_INSTEAD, THROTTLING, Usage

SHORTEST_ENERGY_S = 1.0  # counters tick about every 100 ms: no energy is claimed for less
HOLD_S = 1.0  # a value stands for so long after it was read, where nothing newer could be
DRAWN_J = 1.0  # a counter that did not move while so much was drawn is stuck
NOISE_MIB = 1.0

_PEAKS = {
    "device_peak_mib": "device_used_mib",
    "process_vram_mib": "process_vram_mib",
    "power_peak_w": "power_w",
    "foreign_processes": "foreign_processes",
    "swap_mib": "swap_mib",
}
_MEANS = ("power_w", "sm_clock_mhz", "mem_clock_mhz", "gpu_util_pct")
_COUNTERS = ("energy_j", "violation_power_s", "violation_thermal_s", "cpu_s", "machine_cpu_s", "cpu_energy_j")
_ENERGIES = ("energy_j", "energy_integrated_j", "cpu_energy_j")


@dataclass(slots=True)
class Base:
    """What was used on the card before the run; worth nothing once less than that was seen to be used."""

    used_mib: float | None = None
    lowest_mib: float = inf

    @property
    def was_undercut(self) -> bool:
        """Whether somebody has given memory back since."""
        return self.used_mib is not None and self.lowest_mib < self.used_mib - NOISE_MIB


class Integral:
    """The trapezoids of one field over time."""

    def __init__(self, name: str, first: Sample) -> None:
        self.name = name
        self.total = 0.0
        self._last: tuple[float, float] | None = None  # (time, value)
        self._missed_since: float | None = None
        self._reason: Missing | None = None  # of a gap too long to bridge
        self._newest_reason: Missing = "unsupported"
        self._start_s = first.at_s
        self.add(first)

    def add(self, sample: Sample) -> float | None:
        """Take a sample; return the field's integral since the sample before, where both have it."""
        value = sample.values.get(self.name)
        known_until = self._last[0] if self._last else self._start_s
        if value is None:
            self._newest_reason = sample.reason(self.name)
            if self._missed_since is None:
                self._missed_since = known_until
            return None
        bridged = self._missed_since is not None
        if bridged and sample.at_s - known_until > HOLD_S:
            self._reason = self._newest_reason
        before = self._last[1] if self._last else value
        part = (sample.at_s - known_until) * (before + value) / 2
        self.total += part
        self._last, self._missed_since = (sample.at_s, value), None
        return None if bridged else part

    def end(self, at_s: float) -> float | Missing:
        """Return the integral until the end of the window, or why there is none."""
        if self._last is None:
            return self._newest_reason
        tail = at_s - self._last[0]
        if self._missed_since is not None and tail > HOLD_S:
            return self._newest_reason
        return self._reason or self.total + tail * self._last[1]


class Counter:
    """The growth of a counter. Where it fell, it was reset: what it lost there is what others say that it grew by."""

    def __init__(self, name: str, first: Sample) -> None:
        self.name = name
        self.total = 0.0
        self.resets = 0
        self._last = first.values.get(name)
        self._reason: Missing | None = None if self._last is not None else first.reason(name)
        self._newest_reason: Missing | None = self._reason
        self._expected: float | None = 0.0  # growth since the last value, by others

    def add(self, sample: Sample, expected: float | None = None) -> None:
        """Take a sample, and what the counter should have grown by since the one before, for the case of a reset."""
        value = sample.values.get(self.name)
        self._newest_reason = None if value is not None else sample.reason(self.name)
        self._expected = None if self._expected is None or expected is None else self._expected + expected
        if value is None:
            return
        if self._last is not None:
            moved = value - self._last
            if moved < 0:
                self.resets += 1
                if self._expected is None:
                    self._reason = "lost"
                moved = self._expected or 0.0
            self.total += moved
        self._last, self._expected = value, 0.0

    def end(self) -> float | Missing:
        """Return the growth over the window, or why it is not known: unreadable at the start or at the end."""
        return self._reason or self._newest_reason or self.total


class Window:
    """Sums up samples. `base` is the card's used memory before the run, where it means anything: see `Base`."""

    def __init__(self, first: Sample, started_s: float, base: Base | None = None) -> None:
        self.first = self.last = first
        self.started_s = started_s
        self.base = base or Base()
        self.samples = 1
        self._means = {name: Integral(name, first) for name in _MEANS}
        self._counters = {name: Counter(name, first) for name in _COUNTERS}
        self._peaks: dict[str, float] = {}
        self._temperatures = [first.values["temperature_c"]] if "temperature_c" in first.values else []
        self._reasons: int | None = None
        self._throttled_s = 0.0
        self._reason = dict(first.missing)
        self._extremes(first)

    def add(self, sample: Sample) -> None:
        """Take the next sample."""
        self.samples += 1
        parts = {name: mean.add(sample) for name, mean in self._means.items()}
        for name, counter in self._counters.items():
            counter.add(sample, parts["power_w"] if name == "energy_j" else None)
        if int(sample.values.get("event_reasons", 0)) & THROTTLING:
            self._throttled_s += sample.at_s - self.last.at_s
        self._reason.update(sample.missing)
        self._extremes(sample)
        self.last = sample

    @property
    def window_s(self) -> float:
        """Seconds from the first sample to the last."""
        return self.last.at_s - self.first.at_s

    def energy_so_far_j(self) -> float | str:
        """Return the joules until now, or why they are not known: the counter's, else the integral of power."""
        counted = self._counted()
        return self._means["power_w"].end(self.last.at_s) if counted in INTEGRATED_INSTEAD else counted

    def _counted(self) -> float | str:
        """Return the energy counter's growth, or why it has none that can be believed."""
        counted, drawn = self._counters["energy_j"].end(), self._means["power_w"].end(self.last.at_s)
        stuck = counted == 0 and self.window_s >= SHORTEST_ENERGY_S and isinstance(drawn, float) and drawn > DRAWN_J
        return "stuck" if stuck else counted

    def usage(self) -> Usage:
        """Return the sums. What has none is None, and `missing` says why."""
        measured: dict[str, float | None] = {}
        missing: dict[str, str] = {}

        def put(name: str, value: float | str | None, reason: str = "unsupported") -> None:
            measured[name] = None if isinstance(value, str) else value
            if measured[name] is None:
                missing[name] = value if isinstance(value, str) else reason

        for name, integral in self._means.items():
            total = integral.end(self.last.at_s)
            if name == "power_w":
                put("energy_integrated_j", total)
            put(name, total if isinstance(total, str) else total / self.window_s if self.window_s else "short")
        grown: dict[str, float | str] = {name: counter.end() for name, counter in self._counters.items()}
        grown["energy_j"] = self._counted()
        machine, own = grown.pop("machine_cpu_s"), grown["cpu_s"]
        both = isinstance(machine, float) and isinstance(own, float)
        put("others_cpu_s", max(0.0, machine - own) if both else machine if isinstance(machine, str) else own)  # type: ignore[operator]
        for name, growth in grown.items():
            put(name, growth)
        for name, field in _PEAKS.items():
            put(name, self._peaks.get(field), self._reason.get(field, "unsupported"))
        self._put_device_delta(put)
        for name, temperature in (("temperature_start_c", 0), ("temperature_end_c", -1)):
            known = self._temperatures
            put(name, known[temperature] if known else None, self._reason.get("temperature_c", "unsupported"))
        put("event_reasons", self._reasons, self._reason.get("event_reasons", "unsupported"))
        put("throttled_s", None if self._reasons is None else self._throttled_s, missing.get("event_reasons", ""))
        if self.window_s < SHORTEST_ENERGY_S:
            for name in _ENERGIES:
                put(name, "short" if measured[name] is not None else missing[name])
        return _usage(self, measured, missing)

    def _put_device_delta(self, put: Any) -> None:
        peak, base = self._peaks.get("device_used_mib"), self.base.used_mib
        if peak is None or base is None:
            put("device_delta_mib", None, self._reason.get("device_used_mib", "unsupported"))
        else:
            put("device_delta_mib", "shared" if self.base.was_undercut else max(0.0, peak - base))

    def _extremes(self, sample: Sample) -> None:
        for field in set(_PEAKS.values()):
            if field in sample.values:
                self._peaks[field] = max(sample.values[field], self._peaks.get(field, sample.values[field]))
        if "temperature_c" in sample.values:
            self._temperatures = [*self._temperatures[:1], sample.values["temperature_c"]]
        if "event_reasons" in sample.values:
            self._reasons = (self._reasons or 0) | int(sample.values["event_reasons"])


def _usage(window: Window, measured: dict[str, Any], missing: dict[str, str]) -> Usage:
    integers = ("foreign_processes", "event_reasons")
    values = {
        name: None if value is None else int(value) if name in integers else value for name, value in measured.items()
    }
    return Usage(
        started_s=window.started_s,
        window_s=window.window_s,
        samples=window.samples,
        counter_resets=window._counters["energy_j"].resets,
        missing=missing,
        **values,
    )
