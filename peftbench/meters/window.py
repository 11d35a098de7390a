"""A stretch of time summed up from the samples in it: joules, mean watts, peaks, clocks. Pure arithmetic.

A window begins and ends with a sample taken on purpose, and takes every one between: nothing has to be guessed at
its edges. What was unreadable for longer than `HOLD_S` has no sum, and keeps the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from peftbench.meters.readings import Missing, Sample
from peftbench.store.meter_fields import (
    INTEGRATED_INSTEAD,
    THROTTLING,
    Aggregation,
    MeterField,
    Usage,
    meter_fields,
)

SHORTEST_ENERGY_S = 1.0  # counters tick about every 100 ms: no energy is claimed for less
HOLD_S = 1.0  # a value stands for so long after it was read, where nothing newer could be
DRAWN_J = 1.0  # a counter that did not move while so much was drawn is stuck
NOISE_MIB = 1.0

_MACHINE_CPU = "machine_cpu_s"  # a counter that is no column: see `others_cpu_s`
# A value so far and the next reading, put together.
_TOGETHER: dict[Aggregation, Callable[[float, float], float]] = {
    "max": lambda so_far, value: max(value, so_far),
    "first": lambda so_far, value: so_far,
    "last": lambda so_far, value: value,
    "bits": lambda so_far, value: int(so_far) | int(value),
}


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
    """Sums up samples into a usage of its `kind`.

    `base` is the card's used memory before the run, where it means anything: see `Base`.
    """

    kind: type[Usage] = Usage

    def __init__(self, first: Sample, started_s: float, base: Base | None = None) -> None:
        self.first = self.last = first
        self.started_s = started_s
        self.base = base or Base()
        self.samples = 1
        self._integrals = {field.of: Integral(field.of, first) for field in self._fields("mean", "integral")}
        counters = (*(field.of for field in self._fields("growth")), _MACHINE_CPU)
        self._counters = {reading: Counter(reading, first) for reading in counters}
        self._put_together = self._fields(*_TOGETHER)
        self._found: dict[str, float] = {}  # by field: what is put together reading by reading
        self._throttled_s = 0.0
        self._reason = dict(first.missing)
        self._take(first)

    def add(self, sample: Sample) -> None:
        """Take the next sample."""
        self.samples += 1
        parts = {reading: integral.add(sample) for reading, integral in self._integrals.items()}
        for reading, counter in self._counters.items():
            counter.add(sample, parts["power_w"] if reading == "energy_j" else None)
        if int(sample.values.get("event_reasons", 0)) & THROTTLING:
            self._throttled_s += sample.at_s - self.last.at_s
        self._reason.update(sample.missing)
        self._take(sample)
        self.last = sample

    def _fields(self, *aggregations: Aggregation) -> list[MeterField]:
        return [field for field in meter_fields(self.kind).values() if field.aggregation in aggregations]

    def _take(self, sample: Sample) -> None:
        for field in self._put_together:
            if field.of in sample.values:
                value = sample.values[field.of]
                so_far = self._found.get(field.name, value)
                self._found[field.name] = _TOGETHER[field.aggregation](so_far, value)

    @property
    def window_s(self) -> float:
        """Seconds from the first sample to the last."""
        return self.last.at_s - self.first.at_s

    def energy_so_far_j(self) -> float | str:
        """Return the joules until now, or why they are not known: the counter's, else the integral of power."""
        counted = self._counted()
        return self._integrals["power_w"].end(self.last.at_s) if counted in INTEGRATED_INSTEAD else counted

    def _counted(self) -> float | str:
        """Return the energy counter's growth, or why it has none that can be believed."""
        counted, drawn = self._counters["energy_j"].end(), self._integrals["power_w"].end(self.last.at_s)
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

        for field in self._fields("mean", "integral"):
            total = self._integrals[field.of].end(self.last.at_s)
            if field.aggregation == "integral" or isinstance(total, str):
                put(field.name, total)
            else:
                put(field.name, total / self.window_s if self.window_s else "short")
        grown: dict[str, float | str] = {reading: counter.end() for reading, counter in self._counters.items()}
        grown["energy_j"] = self._counted()
        put("others_cpu_s", _others(grown[_MACHINE_CPU], grown["cpu_s"]))
        for field in self._fields("growth"):
            put(field.name, grown[field.of])
        for field in self._fields("max"):
            put(field.name, self._found.get(field.name), self._why_not(field.of))
        self._put_device_delta(put)
        for field in self._fields("first", "last", "bits"):
            put(field.name, self._found.get(field.name), self._why_not(field.of))
        throttled_s = None if measured["event_reasons"] is None else self._throttled_s
        put("throttled_s", throttled_s, self._why_not("event_reasons"))
        if self.window_s < SHORTEST_ENERGY_S:
            for field in self._fields("growth", "integral"):
                if field.unit == "J":
                    put(field.name, "short" if measured[field.name] is not None else missing[field.name])
        table = meter_fields(self.kind)
        values: dict[str, Any] = {
            name: None if value is None else table[name].stored(value) for name, value in measured.items()
        }
        return self.kind(
            started_s=self.started_s,
            window_s=self.window_s,
            samples=self.samples,
            counter_resets=self._counters["energy_j"].resets,
            missing=missing,
            **values,
        )

    def _why_not(self, reading: str) -> str:
        return self._reason.get(reading, "unsupported")

    def _put_device_delta(self, put: Callable[..., None]) -> None:
        peak, base = self._found.get("device_peak_mib"), self.base.used_mib
        if peak is None or base is None:
            put("device_delta_mib", None, self._why_not("device_used_mib"))
        else:
            put("device_delta_mib", "shared" if self.base.was_undercut else max(0.0, peak - base))


def _others(machine: float | str, own: float | str) -> float | str:
    """Return the processor time of all others, in seconds, or why it is not known."""
    if isinstance(machine, str):
        return machine
    return own if isinstance(own, str) else max(0.0, machine - own)
