"""Current hardware and load of the machine: GPUs through NVML, and the host. A missing GPU is not an error."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from peftbench.meters.nvml import NvmlMeter
from peftbench.meters.nvml_library import Nvml, cards, open_nvml
from peftbench.meters.readings import Reading

EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class CardNow:
    """A GPU and its last reading. Values that cannot be read are None."""

    index: int
    name: str
    total_mib: float | None
    limit_w: float | None
    used_mib: float | None
    power_w: float | None
    util_pct: float | None
    sm_clock_mhz: float | None
    mem_clock_mhz: float | None
    temperature_c: float | None
    event_reasons: int | None


@dataclass(frozen=True, slots=True)
class Machine:
    """The readable GPUs, and the host: cores, load, memory."""

    cards: tuple[CardNow, ...] = ()
    why_none: str = ""
    cores: int = 0
    cpu_pct: float | None = None  # average over all cores
    memory_used_mib: float | None = None
    memory_total_mib: float | None = None


class MachineMeter:
    """Reads the machine at most once a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = float("-inf")
        self._machine = Machine()
        self._meters: list[tuple[int, NvmlMeter, dict[str, Any]]] = []
        self._nvml: Nvml | None = None
        self._opened = False
        self._why = ""

    def read(self) -> Machine:
        """Return a reading that is at most a second old."""
        if self._clock() - self._at >= EVERY_S:
            self._at = self._clock()
            self._machine = self._read()
        return self._machine

    def close(self) -> None:
        """Close NVML."""
        if self._nvml is not None:
            self._nvml.close()
            self._nvml, self._meters = None, []

    def _read(self) -> Machine:
        import psutil

        if not self._opened:
            self._opened = True
            self._open()
        memory = psutil.virtual_memory()
        return Machine(
            tuple(_now(index, facts, meter.sample()) for index, meter, facts in self._meters),
            self._why,
            os.cpu_count() or 0,
            psutil.cpu_percent(),
            (memory.total - memory.available) / 2**20,
            memory.total / 2**20,
        )

    def _open(self) -> None:
        self._nvml, self._why = open_nvml()
        if self._nvml is None:
            return
        for card in cards(self._nvml):
            if not card.is_mig:
                meter = NvmlMeter(self._nvml, card, computes_here=lambda: False)
                self._meters.append((card.index or 0, meter, dict(meter.probe().facts)))


def _now(index: int, facts: dict[str, Any], reading: Reading) -> CardNow:
    values = reading.values
    return CardNow(
        index,
        str(facts.get("name") or "GPU"),
        facts.get("memory_total_mib"),
        facts.get("power_limit_w"),
        values.get("device_used_mib"),
        values.get("power_w"),
        values.get("gpu_util_pct"),
        values.get("sm_clock_mhz"),
        values.get("mem_clock_mhz"),
        values.get("temperature_c"),
        None if values.get("event_reasons") is None else int(values["event_reasons"]),
    )
