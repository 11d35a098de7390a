"""All meters of one run: opened, sampled from beginning to end, closed; and what the run was measured under."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import cast

import torch

from peftbench.errors import MissingError
from peftbench.meters.clocks import ClockLock
from peftbench.meters.host import HostMeter
from peftbench.meters.nvml import NoCard, NvmlMeter
from peftbench.meters.nvml_library import Card, Nvml, card_of, open_nvml, torch_card
from peftbench.meters.phases import OpenPhase, PhaseMeter
from peftbench.meters.rapl import RaplMeter
from peftbench.meters.readings import Capabilities, Meter
from peftbench.meters.sampler import Sampler
from peftbench.meters.thinning import Thinner
from peftbench.meters.torch_memory import TorchMemory
from peftbench.store.conditions import CardConditions, Conditions, MeterConditions, SamplerConditions
from peftbench.store.rows import MeterSettings, Phase, SampleRow

PERIOD_GPU_MS, PERIOD_CPU_MS = 100, 500
IDLE_S = 5.0  # 30 for a published figure: MEASURING in docs/explanation/measuring.md
TICK_S = 0.25


class MeterSession:
    """The meters of a run, as a context. Inside it, `phase` measures.

    Args:
        device: where the run computes.
        settings: how to measure.

    Raises:
        MissingError: a card was named that is not there, or clocks cannot be locked.
    """

    def __init__(self, device: torch.device, settings: MeterSettings) -> None:
        self.device, self.settings = device, settings
        self._ended: tuple[Phase, Conditions] | None = None
        nvml, reason = open_nvml()
        self.card = _find_card(nvml, device, settings)
        memory = TorchMemory(device)
        card_meter: Meter
        if nvml is not None and self.card is not None:
            card_meter = NvmlMeter(nvml, self.card, computes_here=memory.has_work)
        else:
            card_meter = NoCard(*(("no_driver", reason) if nvml is None else ("unsupported", _no_card(device))))
        if settings.lock_clocks_mhz is not None and (nvml is None or self.card is None):
            raise MissingError(
                f"--lock-clocks {settings.lock_clocks_mhz}: there is no card to lock: {card_meter.probe().detail}",
                "name the card with --meter-gpu, or run without --lock-clocks",
            )
        default_ms = PERIOD_GPU_MS if self.card is not None else PERIOD_CPU_MS
        period_ms = settings.period_ms or default_ms
        self.sampler = Sampler((card_meter, memory, HostMeter(), RaplMeter()), period_ms / 1e3)
        self.lock: ClockLock | None = None
        if settings.lock_clocks_mhz is not None:
            assert nvml is not None and self.card is not None
            self.lock = ClockLock(nvml, self.card, settings.lock_clocks_mhz)
        run_window = self.sampler.open()
        self.sampler.base.used_mib = run_window.first.values.get("device_used_mib")
        self.thinner = Thinner(self.sampler.wall_offset_s, lambda: self.meter.energy_so_far_j())
        self.sampler.listeners.append(self.thinner)
        self.meter = PhaseMeter(device, self.sampler, memory, run_window, self.thinner)

    def __enter__(self) -> MeterSession:
        self.sampler.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def phase(
        self, name: str, epoch: int | None = None, task: str | None = None, split: str | None = None
    ) -> AbstractContextManager[OpenPhase]:
        """Measure a phase: see `PhaseMeter.phase`."""
        return self.meter.phase(name, epoch, task, split)

    def idle(self, on_tick: Callable[[float, float], None]) -> Phase | None:
        """Measure the card at rest; None where its power cannot be read, or no time was given for it.

        Args:
            on_tick: is told a few times a second (seconds done, seconds in all), and may raise to end it.
        """
        can_read = "power_w" in self.meter.run_window.first.values
        seconds = self.settings.idle_s if self.settings.idle_s is not None else IDLE_S if can_read else 0.0
        if not can_read or not seconds:
            return None
        with self.phase("idle") as measured:
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                on_tick(seconds - left, seconds)
                time.sleep(min(TICK_S, left))
        return measured.row

    def rows(self) -> list[SampleRow]:
        """Take the thinned samples that are ready to be stored."""
        return self.thinner.drain()

    def facts(self) -> Conditions:
        """Return what the run is measured under: each meter's answer, the card, the settings."""
        of = {capabilities.meter: capabilities for capabilities in self.sampler.capabilities}
        return {
            "gpu": cast("CardConditions", dict(of["nvml"].facts)) or None,
            "gpu_computes": self.device.type == "cuda",
            "meters": {name: _capabilities_json(capabilities) for name, capabilities in of.items()},
            "meter_settings": asdict(self.settings),
            "device_base_mib": self.sampler.base.used_mib,
            "clock_lock": None if self.lock is None else self.lock.facts(),
        }

    def close(self) -> tuple[Phase, Conditions]:
        """End it, once: the row of the whole run, and the facts that are known only now."""
        if self._ended is None:
            self.sampler.halt()
            try:
                row = self.meter.whole_row()
                self.thinner.flush()
            finally:
                if self.lock is not None:
                    self.lock.undo()
                self.sampler.stop()
            lock = None if self.lock is None else self.lock.facts()
            sampler = cast("SamplerConditions", asdict(self.sampler.cadence()))
            self._ended = (row, {"sampler": sampler, "clock_lock": lock})
        return self._ended


def _find_card(nvml: Nvml | None, device: torch.device, settings: MeterSettings) -> Card | None:
    if settings.gpu is not None:
        if nvml is None:
            raise MissingError(f"--meter-gpu {settings.gpu}: there is no NVML here", "install the NVIDIA driver")
        return card_of(nvml, settings.gpu)
    if nvml is None or device.type != "cuda":
        return None
    return torch_card(nvml, str(getattr(torch.cuda.get_device_properties(device), "uuid", "")) or None)


def _no_card(device: torch.device) -> str:
    if device.type != "cuda":
        return "the run computes on the CPU (--meter-gpu reads a card all the same)"
    return "which of NVML's cards the run is on cannot be told; set CUDA_VISIBLE_DEVICES to its UUID"


def _capabilities_json(capabilities: Capabilities) -> MeterConditions:
    lacking: dict[str, str] = {name: status for name, status in capabilities.fields.items() if status != "ok"}
    return {"status": capabilities.status, "detail": capabilities.detail, "missing": lacking}
