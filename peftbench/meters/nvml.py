"""NVML as a meter: one card's (or MIG slice's) memory, power, energy, clocks, temperature and company."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from peftbench.meters.nvml_library import MIB, Card, Nvml, status_of
from peftbench.meters.readings import GPU_FIELDS, Capabilities, Missing, Reading, Status, nothing
from peftbench.text import clean

PROCESSES_EVERY_S = 1.0  # listing processes costs the driver more than all the rest

# Field values of nvml.h, each with its divisor: one call answers all of them.
_FIELD_VALUES = {"power_instant_w": (186, 1e3), "power_average_w": (185, 1e3), "energy_j": (83, 1e3)}
_POWER_BY_PREFERENCE = ("power_instant_w", "power_average_w", "power_classic_w")
_SM, _MEMORY = 1, 2  # NVML_CLOCK_*
_POWER_POLICY, _THERMAL_POLICY = 0, 1  # NVML_PERF_POLICY_*
_MEMBER = {
    0: "dVal",
    1: "uiVal",
    2: "ulVal",
    3: "ullVal",
    4: "sllVal",
    5: "siVal",
    6: "usVal",
}  # by NVML_VALUE_TYPE_*

# The sensors of these look about a quarter of the time (arXiv 2312.02741, measured on A100 and H100).
PART_TIME_SENSORS = ("A100", "A800", "H100", "H800", "H200", "GH200")


class NvmlMeter:
    """Reads one card. What it cannot read stays away with its status; a question the card does not know is not
    asked again.

    Args:
        nvml: opened; closed with the meter.
        card: what to read.
        computes_here: tells whether this process has work on the card by now. Inside a container NVML numbers
            processes otherwise, and one of those on the card must then be this one.
    """

    def __init__(self, nvml: Nvml, card: Card, *, computes_here: Callable[[], bool]) -> None:
        self.nvml, self.card, self.computes_here = nvml, card, computes_here
        self._unsupported: set[str] = set()
        self._processes: Reading = Reading()
        self._processes_at = float("-inf")
        self._ask: dict[str, Callable[[], tuple[Any, Missing | None]]] = {
            "power_classic_w": lambda: self._call("nvmlDeviceGetPowerUsage", scale=1e-3),
            "device_used_mib": self._used,
            "sm_clock_mhz": lambda: self._call("nvmlDeviceGetClockInfo", _SM),
            "mem_clock_mhz": lambda: self._call("nvmlDeviceGetClockInfo", _MEMORY),
            "temperature_c": lambda: self._call("nvmlDeviceGetTemperature", 0),
            "gpu_util_pct": self._utilisation,
            "event_reasons": self._event_reasons,
            "violation_power_s": lambda: self._violation(_POWER_POLICY),
            "violation_thermal_s": lambda: self._violation(_THERMAL_POLICY),
        }

    def probe(self) -> Capabilities:
        """Return which fields the card has, and its facts."""
        reading = self.sample()
        fields: dict[str, Status] = dict.fromkeys(reading.values, "ok")
        fields.update(reading.missing)
        status: Status = "ok" if reading.values else next(iter(reading.missing.values()))
        return Capabilities("nvml", status, f"{self.card.name} {self.card.uuid}", fields, self.facts(reading))

    def facts(self, reading: Reading) -> dict[str, Any]:
        """Return what does not change during a run; what cannot be told is None."""
        handle, value = self.card.parent, self.nvml.value
        cuda = value("nvmlSystemGetCudaDriverVersion_v2")
        limit, default = (
            value("nvmlDeviceGetEnforcedPowerLimit", handle),
            value("nvmlDeviceGetPowerManagementDefaultLimit", handle),
        )
        persistence = value("nvmlDeviceGetPersistenceMode", handle)
        memory = value("nvmlDeviceGetMemoryInfo", self.card.handle)
        return {
            "name": self.card.name,
            "uuid": self.card.uuid,
            "mig": self.card.is_mig,
            "driver": clean(value("nvmlSystemGetDriverVersion") or "", 40) or None,
            "cuda_driver": None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
            "memory_total_mib": None if memory is None else memory.total / MIB,
            "power_limit_w": None if limit is None else limit / 1e3,
            "power_limit_default_w": None if default is None else default / 1e3,
            "persistence": None if persistence is None else bool(persistence),
            "power_source": next((name for name in _POWER_BY_PREFERENCE if name in reading.values), None),
            # the card, not the module of a superchip: field values were asked for with that scope
            "power_scope": "gpu"
            if "power_instant_w" in reading.values or "power_average_w" in reading.values
            else None,
            "part_time_sensor": any(mark in self.card.name for mark in PART_TIME_SENSORS),
        }

    def sample(self) -> Reading:
        """Read every field now."""
        values: dict[str, float] = {}
        missing: dict[str, Missing] = {}
        self._field_values(values, missing)
        for name, ask in self._ask.items():
            if name in self._unsupported:
                missing[name] = "unsupported"
            else:
                self._put(name, *ask(), values, missing)
        if "energy_j" in missing and "energy_j" not in self._unsupported:
            self._put("energy_j", *self._call("nvmlDeviceGetTotalEnergyConsumption", scale=1e-3), values, missing)
        power = next((values[name] for name in _POWER_BY_PREFERENCE if name in values), None)
        reason = next(
            (missing[name] for name in _POWER_BY_PREFERENCE if missing.get(name, "unsupported") != "unsupported"), None
        )
        self._put("power_w", power, reason if power is None else None, values, missing, forget=False)
        processes = self._running()
        return Reading({**values, **processes.values}, {**missing, **processes.missing})

    def close(self) -> None:
        """Shut NVML down."""
        self.nvml.close()

    def _put(
        self,
        name: str,
        value: float | None,
        reason: Missing | None,
        values: dict[str, float],
        missing: dict[str, Missing],
        *,
        forget: bool = True,
    ) -> None:
        if value is not None:
            values[name] = value
            missing.pop(name, None)
        else:
            missing[name] = reason or "unsupported"
            if forget and missing[name] == "unsupported":
                self._unsupported.add(name)

    def _call(self, name: str, *arguments: Any, scale: float = 1) -> tuple[Any, Missing | None]:
        value, reason = self.nvml.ask(name, self.card.handle, *arguments)
        return (None, reason) if value is None else (value * scale, None)

    def _field_values(self, values: dict[str, float], missing: dict[str, Missing]) -> None:
        """Read what one call answers together; each field has a return code of its own."""
        wanted = [name for name in _FIELD_VALUES if name not in self._unsupported]
        missing.update({name: "unsupported" for name in _FIELD_VALUES if name in self._unsupported})
        if not wanted:
            return
        answers, reason = self.nvml.ask(
            "nvmlDeviceGetFieldValues", self.card.handle, [_FIELD_VALUES[n][0] for n in wanted]
        )
        for index, name in enumerate(wanted):
            if answers is None:
                value, code = None, reason
            elif answers[index].nvmlReturn:
                value, code = None, status_of(answers[index].nvmlReturn)
            else:
                raw = getattr(answers[index].value, _MEMBER.get(answers[index].valueType, "ullVal"))
                value, code = raw / _FIELD_VALUES[name][1], None
            self._put(name, value, code, values, missing, forget=name != "energy_j")

    def _used(self) -> tuple[float | None, Missing | None]:
        library = self.nvml.library
        memory, reason = self.nvml.ask("nvmlDeviceGetMemoryInfo", self.card.handle, library.nvmlMemory_v2)
        if reason == "unsupported":
            memory, reason = self.nvml.ask("nvmlDeviceGetMemoryInfo", self.card.handle)
        return (None, reason) if memory is None else (memory.used / MIB, None)

    def _utilisation(self) -> tuple[float | None, Missing | None]:
        rates, reason = self.nvml.ask("nvmlDeviceGetUtilizationRates", self.card.handle)
        return (None, reason) if rates is None else (rates.gpu, None)

    def _event_reasons(self) -> tuple[float | None, Missing | None]:
        bits, reason = self.nvml.ask("nvmlDeviceGetCurrentClocksEventReasons", self.card.handle)
        if reason == "unsupported":  # its name until driver 535
            bits, reason = self.nvml.ask("nvmlDeviceGetCurrentClocksThrottleReasons", self.card.handle)
        return bits, reason

    def _violation(self, policy: int) -> tuple[float | None, Missing | None]:
        violation, reason = self.nvml.ask("nvmlDeviceGetViolationStatus", self.card.handle, policy)
        return (None, reason) if violation is None else (violation.violationTime / 1e9, None)

    def _running(self) -> Reading:
        """Return this process's memory on the card and the number of others, at most once a second anew."""
        moment = time.monotonic()
        if moment - self._processes_at >= PROCESSES_EVERY_S:
            self._processes_at = moment
            # By version: pynvml's own function raises a stranger where the driver is too old for it.
            processes, reason = self.nvml.ask("nvmlDeviceGetComputeRunningProcesses_v3", self.card.handle)
            if reason == "unsupported":
                processes, reason = self.nvml.ask("nvmlDeviceGetComputeRunningProcesses_v2", self.card.handle)
            self._processes = (
                nothing(("process_vram_mib", "foreign_processes"), reason or "unsupported")
                if processes is None
                else self._company(processes)
            )
        return self._processes

    def _company(self, running: list[Any]) -> Reading:
        """Tell this process from others: by its number, else (in a container) as the one that must be among them."""
        own = next((process for process in running if process.pid == os.getpid()), None)
        here = own is not None or self.computes_here()
        if here and not running:  # the list does not show this process, so it may not show others
            return nothing(("process_vram_mib", "foreign_processes"), "unsupported")
        values: dict[str, float] = {"foreign_processes": len(running) - here}
        if own is None and here and len(running) == 1:
            own = running[0]
        if own is None or own.usedGpuMemory is None:
            return Reading(values, {"process_vram_mib": "unsupported"})
        return Reading({**values, "process_vram_mib": own.usedGpuMemory / MIB})


class NoCard:
    """Stands where there is no card to read, and says why."""

    def __init__(self, reason: Missing, detail: str) -> None:
        self.reason: Missing = reason
        self.detail = detail

    def probe(self) -> Capabilities:
        """Return the reason."""
        return Capabilities("nvml", self.reason, self.detail, dict.fromkeys(GPU_FIELDS, self.reason))

    def sample(self) -> Reading:
        """Read nothing."""
        return nothing(GPU_FIELDS, self.reason)

    def close(self) -> None:
        """Hold nothing."""
