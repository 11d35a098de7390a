"""The table of meter fields: what is kept of the meters for a phase (`Usage`) and for a second (`SampleRow`).

A field defined by `measured` is a column of the store. The definition names the reading that it is made of (see
`meters/readings.py`), how it is aggregated, and a label and a unit for people. Windows, thinned samples, columns,
charts and exports derive from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args, get_type_hints

# How a field is made of the readings in a window, or in a second:
#   mean      over time
#   integral  over time, by trapezoids
#   growth    of a counter, from the first reading to the last
#   max       of all readings
#   first     the first reading
#   last      the last reading
#   bits      every bit that was set in some reading
#   computed  by a function of its own, from several readings or from elsewhere
Aggregation = Literal["mean", "integral", "growth", "max", "first", "last", "bits", "computed"]

_KEY = "meter_field"  # of a dataclass field's metadata


@dataclass(frozen=True, slots=True)
class MeterField:
    """One line of the table.

    `name`: of the field and its column, with the unit in it. `of`: the reading, "" if it is computed. `short`: the
    label in a line of figures, which may be "". `share_of`: what 100 % are. `is_whole`: an integer.
    """

    name: str
    aggregation: Aggregation
    of: str
    label: str
    unit: str
    short: str
    share_of: str
    is_whole: bool

    def stored(self, value: float) -> float:
        """Return a value in the type of the column."""
        return int(value) if self.is_whole else value


def measured(
    aggregation: Aggregation, label: str, unit: str, *, of: str = "", short: str | None = None, share_of: str = ""
) -> Any:
    """Define a meter field of a dataclass; None is its default.

    Args:
        aggregation: how it is made of the readings.
        label: its name for people.
        unit: of its values; "" for counts and bits.
        of: the reading, where it has another name.
        short: the label in a line of figures, where that is another one.
        share_of: what 100 % are, where that is not obvious.
    """
    definition = {"aggregation": aggregation, "of": of, "label": label, "unit": unit, "share_of": share_of}
    return field(default=None, metadata={_KEY: {**definition, "short": label if short is None else short}})


_TABLES: dict[type[Any], Mapping[str, MeterField]] = {}


def meter_fields(kind: type[Any]) -> Mapping[str, MeterField]:
    """Return the meter fields of a dataclass by name, in its order."""
    if kind not in _TABLES:
        types = get_type_hints(kind)
        defined = {each.name: each.metadata[_KEY] for each in dataclasses.fields(kind) if _KEY in each.metadata}
        table = {name: _meter_field(name, types[name], **definition) for name, definition in defined.items()}
        _TABLES[kind] = MappingProxyType(table)
    return _TABLES[kind]


def _meter_field(name: str, kind: Any, *, of: str, aggregation: Aggregation, **words: str) -> MeterField:
    reading = "" if aggregation == "computed" else of or name
    return MeterField(name, aggregation, reading, is_whole=int in get_args(kind), **words)


# The bits of `event_reasons`, NVML's nvmlClocksEventReason*, in words.
EVENT_REASONS = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks",
}
THROTTLING = 0x8 | 0x20 | 0x40 | 0x80  # those that are thermal or the hardware's: a power cap is a condition


def reasons(bits: int) -> list[str]:
    """Return clock-event reasons in words."""
    return [name for bit, name in EVENT_REASONS.items() if bits & bit]


# Why a card's counter of energy has no figure, where the integral of its power may stand in for it.
INTEGRATED_INSTEAD = ("unsupported", "no_permission", "stuck")


@dataclass(frozen=True, slots=True)
class Usage:
    """What the meters saw during a phase. What they could not see is None, and `missing` says why.

    The reasons: `unsupported`, `no_permission`, `lost`, `no_driver`; of energy also `short` (less than a second) and
    `stuck` (a counter that did not move while power was drawn); of `device_delta_mib` also `shared` (somebody gave
    memory back, so that the card's use before the run says nothing).
    """

    started_s: float  # Unix time
    window_s: float  # the whole stretch, to which power and energy refer; a phase's `wall_s` may be only its steps
    samples: int
    energy_j: float | None = measured("growth", "GPU energy", "J")  # the card's own counter, both ends read on purpose
    energy_integrated_j: float | None = measured("integral", "GPU energy, integrated", "J", of="power_w")
    counter_resets: int = 0  # of `energy_j`
    power_w: float | None = measured("mean", "power", "W")
    power_peak_w: float | None = measured("max", "peak power", "W", of="power_w")
    energy_so_far_j: float | None = measured("computed", "energy of the run", "J")  # until the end of this phase
    peak_allocated_mib: float | None = measured("computed", "peak allocated by torch", "MiB")  # torch's own peaks
    peak_reserved_mib: float | None = measured("computed", "peak reserved by torch", "MiB")
    device_peak_mib: float | None = measured("max", "GPU memory", "MiB", of="device_used_mib")  # used by everybody
    device_delta_mib: float | None = measured(
        "computed", "GPU memory, growth", "MiB"
    )  # less what was used before the run
    process_vram_mib: float | None = measured("max", "VRAM", "MiB")
    temperature_start_c: float | None = measured("first", "temperature at the start", "°C", of="temperature_c")
    temperature_end_c: float | None = measured("last", "temperature at the end", "°C", of="temperature_c")
    sm_clock_mhz: float | None = measured("mean", "SM clock", "MHz")
    mem_clock_mhz: float | None = measured("mean", "memory clock", "MHz")
    gpu_util_pct: float | None = measured("mean", "GPU utilisation", "%")
    event_reasons: int | None = measured("bits", "clock-event reasons", "")
    throttled_s: float | None = measured("computed", "throttled", "s")
    violation_power_s: float | None = measured("growth", "slowed by the power cap", "s")
    violation_thermal_s: float | None = measured("growth", "slowed by heat", "s")
    foreign_processes: int | None = measured("max", "other processes on the GPU", "")
    cpu_s: float | None = measured("growth", "processor time", "s")  # of this process
    others_cpu_s: float | None = measured("computed", "others' processor time", "s")
    cpu_energy_j: float | None = measured("growth", "CPU energy", "J")
    swap_mib: float | None = measured("max", "swap", "MiB")
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A second of the meters, thinned for a screen. What is not known is None."""

    sequence: int
    at_s: float  # Unix time, of the second's end
    phase: str | None
    power_w: float | None = measured("mean", "power", "W", short="")
    power_peak_w: float | None = measured("max", "peak power", "W", of="power_w")
    energy_j: float | None = measured("computed", "energy of the run", "J", short="run")  # so far
    device_used_mib: float | None = measured("max", "GPU memory", "MiB")
    process_vram_mib: float | None = measured("max", "VRAM", "MiB")
    allocated_mib: float | None = measured("max", "allocated by torch", "MiB")
    reserved_mib: float | None = measured("max", "reserved by torch", "MiB")
    sm_clock_mhz: float | None = measured("mean", "SM clock", "MHz", short="SM")
    mem_clock_mhz: float | None = measured("mean", "memory clock", "MHz", short="MEM")
    temperature_c: float | None = measured("max", "temperature", "°C", short="")
    gpu_util_pct: float | None = measured("mean", "GPU utilisation", "%", short="GPU")
    event_reasons: int | None = measured("bits", "clock-event reasons", "")
    rss_mib: float | None = measured("max", "memory (RSS)", "MiB", short="RSS")
    cpu_pct: float | None = measured("computed", "CPU", "%", share_of="a core")
    others_cpu_pct: float | None = measured("computed", "others' CPU", "%", short="others", share_of="a core")

    @property
    def vram_mib(self) -> float | None:
        """What the process held on the card: as the driver counts it, else as torch does."""
        return self.process_vram_mib if self.process_vram_mib is not None else self.reserved_mib

    @property
    def throttled(self) -> bool:
        """Whether the card was slowed down by heat or by its own protection."""
        return bool((self.event_reasons or 0) & THROTTLING)
