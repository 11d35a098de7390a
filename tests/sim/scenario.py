"""What the simulated NVML library plays: cards, their curves over time, and their faults.

Time t is seconds since `Scenario.epoch`; before it t is 0. What is None does not exist on the card: the library answers
NVML_ERROR_NOT_SUPPORTED. Every field is a key of the scenario file under its own name (see `scenario.c`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tests.sim.curves import Curve, linear_at, points_of, repeated_at, repeated_integral, step_at

CURVES = (
    "power_w", "memory_used_mib", "temperature_c", "memory_temperature_c", "utilization_percent",
    "memory_utilization_percent", "power_violation_ns", "thermal_violation_ns", "sw_thermal_ns", "hw_thermal_ns",
    "power_brake_ns", "sm_clock_mhz", "memory_clock_mhz", "clock_reasons",
)  # fmt: skip
STEPPED = ("sm_clock_mhz", "memory_clock_mhz", "clock_reasons")
ARCHITECTURES = {"volta": 5, "turing": 6, "ampere": 7, "ada": 8, "hopper": 9, "blackwell": 10}

Errors = Mapping[str, str | tuple[str, float] | tuple[str, float, float]]
"""NVML function or field (`nvmlDeviceGetPowerUsage`, `NVML_FI_DEV_POWER_INSTANT`) to the name of its error without
`NVML_ERROR_` (`NOT_SUPPORTED`), alone or as (error, from_s) or (error, from_s, to_s). `nvml...` may leave `_v2` out."""


@dataclass(frozen=True)
class Process:
    """A process on a card, seen for from_s <= t < to_s."""

    pid: int | str
    """A number, "self" (whoever asks) or "env" (PEFTBENCH_SIM_SELF; absent where that is not set)."""
    used_mib: float | None = 512
    """None: the library gives NVML_VALUE_NOT_AVAILABLE, which pynvml makes None."""
    kind: str = "compute"
    """compute | graphics | mps"""
    from_s: float = 0.0
    to_s: float = math.inf


@dataclass(frozen=True)
class MigSlice:
    """A MIG device: its own name, UUID, memory and processes; everything else is its card's, or not supported."""

    uuid: str
    name: str = "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    memory_total_mib: float = 4864
    memory_reserved_mib: float = 0
    memory_used_mib: Curve = 12
    gpu_instance: int = 7
    compute_instance: int = 0
    processes: tuple[Process, ...] = ()
    errors: Errors = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """A card. `power_at`, `energy_between_j` and `value_at` give what is true; the other methods what NVML shows."""

    index: int
    uuid: str
    name: str = "NVIDIA RTX A6000"
    pci_bus_id: str = "00000000:01:00.0"
    architecture: str = "ampere"
    averaged_power: bool | None = None
    """Whether PowerUsage is a 1 s mean and POWER_AVERAGE exists; None: from Ampere on (a GA100 says False)."""
    power_w: Curve | None = 60.0
    power_period_s: float | None = None
    """The power curve starts again every so many seconds."""
    power_tick_s: float = 0.1
    """The sensor's figures change only at whole multiples of this."""
    energy_tick_s: float = 0.1
    energy_start_mj: int | None = 0
    """The counter at t = 0, at most 2**53; None: no counter."""
    energy_wrap_mj: int | None = None
    """The counter is shown modulo this."""
    energy_reset_at_s: float | None = None
    """The counter starts again from 0 here."""
    power_limit_w: float | None = 300.0
    default_power_limit_w: float | None = 300.0
    enforced_power_limit_w: float | None = 300.0
    min_power_limit_w: float | None = 100.0
    max_power_limit_w: float | None = 300.0
    memory_total_mib: float | None = 49140
    memory_reserved_mib: float = 640
    memory_used_mib: Curve | None = 3.0
    """Without the reserved part, as memory info v2 tells it; v1 adds the reserved part to it."""
    temperature_c: Curve | None = 35.0
    memory_temperature_c: Curve | None = None
    utilization_percent: Curve | None = 0.0
    memory_utilization_percent: Curve | None = 0.0
    sm_clock_mhz: Curve | None = 1800
    memory_clock_mhz: Curve | None = 8001
    max_sm_clock_mhz: float | None = 2100
    max_memory_clock_mhz: float | None = 8001
    lock_permission: bool = True
    clock_holds_mhz: float | None = None
    """What the SM clock reads while it is locked; None: what was asked for."""
    clock_reasons: Curve | None = 0
    """Bits nvmlClocksEventReason..., in steps."""
    supported_clock_reasons: int | None = 0x1FF
    power_violation_ns: Curve | None = 0.0
    thermal_violation_ns: Curve | None = 0.0
    sw_thermal_ns: Curve | None = None
    hw_thermal_ns: Curve | None = None
    power_brake_ns: Curve | None = None
    persistence: bool | None = True
    compute_mode: int | None = 0
    ecc: bool | None = None
    mig: bool | None = None
    """MIG mode; None: the card has no MIG."""
    max_slices: int = 7
    slices: tuple[MigSlice, ...] = ()
    processes: tuple[Process, ...] = ()
    lost_at_s: float | None = None
    slow_ms: float = 0.0
    """Each call on the card takes so long; what it answers is of the end of it."""
    errors: Errors = field(default_factory=dict)

    def power_at(self, t_s: float) -> float:
        """Return the true power (W) at a time."""
        return repeated_at(self._curve("power_w"), self.power_period_s, t_s)

    def energy_between_j(self, t0_s: float, t1_s: float) -> float:
        """Return the exact integral (J) of the power between two times."""
        curve, period_s = self._curve("power_w"), self.power_period_s
        return repeated_integral(curve, period_s, t1_s) - repeated_integral(curve, period_s, t0_s)

    def value_at(self, name: str, t_s: float) -> float:
        """Return the value at a time of a curve by its field's name (`CURVES`); clocks are those without a lock."""
        if name not in CURVES:
            raise KeyError(name)
        if name == "power_w":
            return self.power_at(t_s)
        return (step_at if name in STEPPED else linear_at)(self._curve(name), max(t_s, 0.0))

    def instant_power_mw(self, t_s: float) -> int:
        """Return what POWER_INSTANT shows: the power at the sensor's last tick."""
        return _nearest(1000 * self.power_at(_tick(t_s, self.power_tick_s)))

    def average_power_mw(self, t_s: float) -> int:
        """Return what POWER_AVERAGE shows: the mean over the second before the sensor's last tick."""
        tick = _tick(t_s, self.power_tick_s)
        return _nearest(1000 * self.energy_between_j(tick - 1, tick))

    def usage_mw(self, t_s: float) -> int:
        """Return what nvmlDeviceGetPowerUsage shows."""
        return self.average_power_mw(t_s) if self.shows_mean else self.instant_power_mw(t_s)

    def energy_counter_mj(self, t_s: float) -> int:
        """Return what the energy counter shows."""
        if self.energy_start_mj is None:
            raise ValueError(f"card {self.index} has no energy counter")
        tick, reset = _tick(t_s, self.energy_tick_s), self.energy_reset_at_s
        if reset is not None and t_s >= reset:
            shown = _nearest(1000 * self.energy_between_j(reset, max(tick, reset)))
        else:
            shown = self.energy_start_mj + _nearest(1000 * self.energy_between_j(0, tick))
        return shown if self.energy_wrap_mj is None else shown % self.energy_wrap_mj

    @property
    def shows_mean(self) -> bool:
        """Whether nvmlDeviceGetPowerUsage is a mean over 1 s."""
        by_age = ARCHITECTURES[self.architecture] >= ARCHITECTURES["ampere"]
        return by_age if self.averaged_power is None else self.averaged_power

    def _curve(self, name: str) -> Curve:
        curve: Curve | None = getattr(self, name)
        if curve is None:
            raise ValueError(f"card {self.index} has no {name}")
        return curve


@dataclass(frozen=True)
class Scenario:
    """A machine with its cards."""

    epoch: float
    """Unix time (s) of t = 0."""
    cards: tuple[Card, ...]
    driver_version: str = "580.65.06"
    nvml_version: str = "13.580.65.06"
    cuda_version: int = 13000
    init_error: str | None = None
    """What nvmlInit answers, without `NVML_ERROR_`."""
    still_at_s: float | None = None
    """Time stands still here, for figures exact to the last digit."""

    def with_card(self, index: int, **changes: Any) -> Scenario:
        """Return the scenario with some fields of one card changed."""
        cards = tuple(replace(card, **changes) if card.index == index else card for card in self.cards)
        return replace(self, cards=cards)

    def write(self, path: Path) -> Path:
        """Write the scenario file and return its path; clock locks kept beside it stay as they are."""
        own = [f"{f.name} {_shown(getattr(self, f.name))}" for f in fields(self) if f.name != "cards"]
        lines = [line for line in own if not line.endswith(" None")]
        for position, card in enumerate(self.cards):
            if card.index != position:
                raise ValueError(f"card {card.index} stands at place {position}")
            lines.extend(_card_lines(card))
        path.write_text("\n".join(lines) + "\n")
        return path


def play_later(path: Path, card: int, **moments: float) -> None:
    """Tell a scenario that is being played when a card is lost (`lost_at_s`) or its counter falls
    (`energy_reset_at_s`), for tests that wait for something to happen first.
    """
    if unknown := set(moments) - {"lost_at_s", "energy_reset_at_s"}:
        raise ValueError(f"not to be told later: {unknown}")
    written = path.with_name(f"{path.name}.later.tmp")
    written.write_text("".join(f"{card} {key} {t_s!r}\n" for key, t_s in moments.items()))
    written.replace(path.with_name(f"{path.name}.later"))


def two_cards(epoch: float) -> Scenario:
    """Return a machine with an RTX A6000 (saw-tooth between 60 and 300 W, every 2 s) and a Tesla T4 (steady 30 W)."""
    saw = ((0.0, 60.0), (1.6, 300.0), (2.0, 60.0))
    first = Card(
        index=0, uuid="GPU-5ca1ab1e-0000-4000-8000-000000000000", power_w=saw, power_period_s=2.0,
        energy_start_mj=123_456_789,
    )  # fmt: skip
    second = Card(
        index=1, uuid="GPU-5ca1ab1e-0000-4000-8000-000000000001", name="Tesla T4", pci_bus_id="00000000:81:00.0",
        architecture="turing", power_w=30.0, power_limit_w=70.0, default_power_limit_w=70.0,
        enforced_power_limit_w=70.0, min_power_limit_w=60.0, max_power_limit_w=70.0, memory_total_mib=15360,
        memory_reserved_mib=450, sm_clock_mhz=1590, memory_clock_mhz=5000, max_sm_clock_mhz=1590,
        max_memory_clock_mhz=5001, ecc=True,
    )  # fmt: skip
    return Scenario(epoch, (first, second))


def _card_lines(card: Card) -> Iterator[str]:
    yield f"card {card.index}"
    changes = {"architecture": ARCHITECTURES[card.architecture], "averaged_power": card.shows_mean}
    yield from _device_lines(card, changes)
    for mig in card.slices:
        yield "slice"
        yield from _device_lines(mig, {})


def _device_lines(device: Card | MigSlice, changes: Mapping[str, Any]) -> Iterator[str]:
    for each in fields(device):
        value = changes.get(each.name, getattr(device, each.name))
        if each.name in {"index", "slices", "processes", "errors"} or value is None:
            continue
        yield f"{each.name} {_points(value) if each.name in CURVES else _shown(value)}"
    for process in device.processes:
        used = "unknown" if process.used_mib is None else process.used_mib
        yield f"process {process.kind} {process.pid} {used} {process.from_s} {process.to_s}"
    for name, fault in device.errors.items():
        error, *span = (fault,) if isinstance(fault, str) else fault
        from_s, to_s = (*span, *(0.0, math.inf)[len(span) :])
        yield f"error {name} {error} {from_s} {to_s}"


def _points(curve: Curve) -> str:
    return " ".join(f"{t_s!r}:{value!r}" for t_s, value in points_of(curve))


def _shown(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _tick(t_s: float, every_s: float) -> float:
    return math.floor(max(t_s, 0.0) / every_s) * every_s


def _nearest(value: float) -> int:
    return math.floor(value + 0.5)
