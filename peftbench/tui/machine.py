"""Current hardware and load of the machine: GPUs through NVML, and the host. A missing GPU is not an error."""

from __future__ import annotations

import os
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from peftbench.meters.nvml import NvmlMeter
from peftbench.meters.nvml_library import Nvml, cards, open_nvml
from peftbench.meters.readings import Reading
from peftbench.store.meter_fields import SampleRow

EVERY_S = 1.0
_KEPT = 1800  # readings: half an hour


@dataclass(frozen=True, slots=True)
class CardNow:
    """A GPU and its last reading. Values that cannot be read are None. `history`: readings so far, with their times."""

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
    history: tuple[SampleRow, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Machine:
    """The readable GPUs, and the host: cores, load, memory.

    `history`: readings of the host so far: `rss_mib` is the memory in use, `cpu_pct` the use of all cores.
    """

    cards: tuple[CardNow, ...] = ()
    why_none: str = ""
    cores: int = 0
    cpu_pct: float | None = None  # average over all cores
    memory_used_mib: float | None = None
    memory_total_mib: float | None = None
    history: tuple[SampleRow, ...] = field(default=(), compare=False, repr=False)


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
        self._kept: defaultdict[int | None, deque[SampleRow]] = defaultdict(lambda: deque(maxlen=_KEPT))  # None: host

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
        memory, at_s = psutil.virtual_memory(), time.time()
        used_mib, cpu_pct = (memory.total - memory.available) / 2**20, psutil.cpu_percent()
        cards = [_now(index, facts, meter.sample()) for index, meter, facts in self._meters]
        kept = {card.index: self._keep(card.index, _row(card, at_s)) for card in cards}
        return Machine(
            tuple(replace(card, history=kept[card.index]) for card in cards),
            self._why,
            os.cpu_count() or 0,
            cpu_pct,
            used_mib,
            memory.total / 2**20,
            self._keep(None, SampleRow(0, at_s, None, rss_mib=used_mib, cpu_pct=cpu_pct)),
        )

    def _keep(self, card: int | None, reading: SampleRow) -> tuple[SampleRow, ...]:
        self._kept[card].append(reading)
        return tuple(self._kept[card])

    def _open(self) -> None:
        self._nvml, self._why = open_nvml()
        if self._nvml is None:
            return
        for card in cards(self._nvml):
            if not card.is_mig:
                meter = NvmlMeter(self._nvml, card, computes_here=lambda: False)
                self._meters.append((card.index or 0, meter, dict(meter.probe().facts)))


def _row(card: CardNow, at_s: float) -> SampleRow:
    return SampleRow(
        0,
        at_s,
        None,
        power_w=card.power_w,
        device_used_mib=card.used_mib,
        sm_clock_mhz=card.sm_clock_mhz,
        mem_clock_mhz=card.mem_clock_mhz,
        temperature_c=card.temperature_c,
        gpu_util_pct=card.util_pct,
        event_reasons=card.event_reasons,
    )


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
