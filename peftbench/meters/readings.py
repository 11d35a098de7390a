"""What meters say: a value, or why there is none. Light, and the same for every meter.

A value that cannot be read is absent with its status, never 0. Times are seconds of the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Status = Literal["ok", "unsupported", "no_permission", "lost", "no_driver"]
Missing = Literal["unsupported", "no_permission", "lost", "no_driver"]

# Every field that a meter may give, with its unit in its name. Counters only ever grow, but for a reset.
GPU_FIELDS = (
    "power_w",  # the best there is: instant, else average, else the classic reading
    "power_instant_w",
    "power_average_w",
    "power_classic_w",
    "energy_j",  # counter
    "device_used_mib",
    "process_vram_mib",
    "foreign_processes",
    "sm_clock_mhz",
    "mem_clock_mhz",
    "temperature_c",
    "gpu_util_pct",
    "event_reasons",  # bits
    "violation_power_s",  # counter
    "violation_thermal_s",  # counter
)
TORCH_FIELDS = ("allocated_mib", "reserved_mib")
HOST_FIELDS = (
    "rss_mib",
    "cpu_s",  # counter: this process's
    "machine_cpu_s",  # counter: everybody's, this process's included
    "swap_mib",
)
RAPL_FIELDS = ("cpu_energy_j",)  # counter, of all packages
FIELDS = (*GPU_FIELDS, *TORCH_FIELDS, *HOST_FIELDS, *RAPL_FIELDS)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one meter read at one moment: fields that have a value, and the others with why they have none."""

    values: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, Missing] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """What all meters read at one moment, `at_s` on the monotonic clock."""

    at_s: float
    values: Mapping[str, float]
    missing: Mapping[str, Missing]

    def reason(self, name: str) -> Missing:
        """Return why a field has no value."""
        return self.missing.get(name, "unsupported")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a meter can read here.

    `status` is the meter's own: not `ok` means that it reads nothing, and `detail` says why in words. `fields` has
    the status of each field; `facts` what does not change during a run (names, versions, limits).
    """

    meter: str
    status: Status
    detail: str
    fields: Mapping[str, Status]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Meter(Protocol):
    """Something that reads a resource. None of its functions ever raises."""

    def probe(self) -> Capabilities:
        """Return what can be read here."""

    def sample(self) -> Reading:
        """Read every field now."""

    def close(self) -> None:
        """Give back what it holds."""


def nothing(fields: tuple[str, ...], reason: Missing) -> Reading:
    """Return a reading of a meter that reads nothing."""
    return Reading({}, dict.fromkeys(fields, reason))
