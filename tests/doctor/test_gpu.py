"""GPU checks on constructed surveys; `test_simulated.py` runs them on simulated cards through the real pynvml."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peftbench.doctor import gpu
from peftbench.meters.readings import GPU_FIELDS, Capabilities, Missing, Reading
from peftbench.meters.survey import Survey, SurveyedCard, pci_cards

FACTS: dict[str, Any] = {
    "name": "NVIDIA RTX A6000",
    "mig": False,
    "memory_total_mib": 49140.0,
    "power_limit_w": 300.0,
    "power_limit_default_w": 300.0,
    "persistence": True,
    "power_source": "power_instant_w",
    "part_time_sensor": False,
}
CLOSED = Survey(False, "NVML: it does not open", 12)


def card(missing: dict[str, Missing] | None = None, mig_mode: bool | None = None, **facts: object) -> SurveyedCard:
    """Return a healthy card, except for given missing fields and facts."""
    lacking: dict[str, Missing] = {"process_vram_mib": "unsupported", **(missing or {})}
    given = dict.fromkeys(GPU_FIELDS, 40.0) | {"foreign_processes": 0.0, "event_reasons": 0.0}
    values = {name: value for name, value in given.items() if name not in lacking}
    capabilities = Capabilities("nvml", "ok", "", {}, {**FACTS, **facts})
    return SurveyedCard("gpu 0", "GPU-1", capabilities, Reading(values, lacking), mig_mode, slices=2)


def reads(**values: float) -> SurveyedCard:
    sound = card()
    return replace(sound, reading=Reading({**sound.reading.values, **values}, sound.reading.missing))


def test_a_machine_without_a_driver_is_no_failure_and_says_what_is_missing() -> None:
    found = gpu.driver(CLOSED)
    assert found.state == "skip"
    assert found.detail == "no NVIDIA driver (NVML: it does not open): no VRAM, power or energy figures"
    assert gpu.gpus(CLOSED).state == "skip"
    assert gpu.clock_lock(False, 0, True).state == "skip"


@pytest.mark.parametrize(
    ("changes", "state", "says"),
    [
        ({"pci_cards": 1}, "warn", "1 NVIDIA card on the bus"),
        ({"pci_cards": 3}, "warn", "3 NVIDIA cards on the bus"),
        ({"module_loaded": True}, "warn", "the kernel module is loaded"),
        ({"code": None}, "fail", "does not open"),
        ({"code": 9}, "warn", "the kernel module is not"),
        ({"code": 9, "pci_cards": 1}, "fail", "the kernel module is not"),
        ({"code": 18}, "fail", "does not open"),
        ({"code": 4}, "fail", "does not open"),
        ({"code": 15}, "fail", "does not open"),
        ({"code": 999}, "fail", "does not open"),
    ],
)
def test_a_driver_that_is_there_and_does_not_work(changes: dict[str, Any], state: str, says: str) -> None:
    found = gpu.driver(replace(CLOSED, **changes))
    assert (found.state, says in found.detail, found.remedy is not None) == (state, True, True)


def test_each_breakage_of_the_driver_has_its_own_remedy() -> None:
    remedies = {gpu.driver(replace(CLOSED, code=code)).remedy for code in (None, 4, 9, 15, 16, 18, 999)}
    assert len(remedies) == 7


def test_no_card_lost_cards_and_a_card_that_is_not_there() -> None:
    assert gpu.gpus(Survey(True)).state == "warn"
    assert gpu.gpus(Survey(True, lost={0: "lost"})).state == "fail"
    assert gpu.gpus(Survey(True, cards=(card(),), lost={1: "lost"})).state == "ok"  # the lost one is separate
    assert gpu.lost(1, "lost").state == gpu.lost(1, "no_permission").state == "fail"
    assert gpu.lost(1, "lost").remedy != gpu.lost(1, "no_permission").remedy
    assert gpu.gpus(Survey(True, no_card="GPU '7': no such card")).state == "fail"
    assert gpu.gpus(replace(CLOSED, no_card="GPU '7': there is no NVML to ask")).state == "fail"


def test_a_power_limit_of_ones_own_is_named() -> None:
    assert gpu.identity("gpu 0", card()).state == "ok"
    assert gpu.identity("gpu 0", card(power_limit_w=None)).state == "ok"
    found = gpu.identity("gpu 0", card(power_limit_w=200.0))
    assert (found.state, "power limit 200 W, not the default of 300 W" in found.detail) == ("warn", True)
    assert found.remedy is not None
    assert "-i GPU-1 -pl 300" in found.remedy


def test_mig() -> None:
    assert gpu.mig("m", card()).state == "ok"
    assert gpu.mig("m", card(mig_mode=False)).detail == "off"
    on = gpu.mig("m", card(mig_mode=True))
    assert (on.state, "on, 2 slices" in on.detail) == ("warn", True)
    assert "a MIG slice" in gpu.mig("m", card(mig=True)).detail


@pytest.mark.parametrize(("mode", "state"), [(True, "ok"), (False, "warn"), (None, "skip")])
def test_persistence(mode: bool | None, state: str) -> None:
    assert gpu.persistence("p", card(persistence=mode)).state == state


def test_company_on_the_card() -> None:
    assert gpu.processes("p", card()).state == "ok"
    found = gpu.processes("p", reads(foreign_processes=2))
    assert (found.state, found.detail[:14]) == ("warn", "2 processes on")
    assert gpu.processes("p", card({"foreign_processes": "no_permission"})).state == "warn"
    assert gpu.processes("p", card({"foreign_processes": "unsupported"})).state == "skip"
    assert gpu.processes("p", card({"foreign_processes": "lost"})).state == "fail"


@pytest.mark.parametrize(
    ("missing", "state"),
    [
        ({}, "ok"),
        ({"violation_thermal_s": "unsupported"}, "ok"),
        ({"energy_j": "unsupported"}, "warn"),
        ({"power_w": "no_permission"}, "warn"),
        (dict.fromkeys(GPU_FIELDS, "no_permission"), "fail"),
        ({"temperature_c": "lost", "power_w": "no_permission"}, "fail"),
    ],
)
def test_what_can_be_read(missing: dict[str, Missing], state: str) -> None:
    found = gpu.readings("r", card(missing))
    assert found.state == state
    for name in missing:
        assert name in found.detail or (name == "process_vram_mib") or state == "fail"


def test_the_source_of_power() -> None:
    assert gpu.power_source("p", card()).state == "ok"
    assert "mean over one second from Ampere" in gpu.power_source("p", card(power_source="power_classic_w")).detail
    assert gpu.power_source("p", card(power_source="power_average_w")).state == "warn"
    assert gpu.power_source("p", card(part_time_sensor=True)).state == "warn"
    assert gpu.power_source("p", card({"power_w": "unsupported"}, power_source=None)).state == "skip"
    assert gpu.power_source("p", card({"power_w": "no_permission"}, power_source=None)).state == "warn"


def test_a_hot_or_slowed_card() -> None:
    assert gpu.temperature("t", reads(temperature_c=60)).state == "ok"
    assert gpu.temperature("t", reads(temperature_c=85)).state == "warn"
    slowed = gpu.temperature("t", reads(temperature_c=60, event_reasons=0x40 | 0x1))
    assert (slowed.state, slowed.detail) == ("warn", "60 °C, throttled by: hardware thermal slowdown")
    assert gpu.temperature("t", card({"temperature_c": "unsupported"})).state == "skip"


def test_locking_clocks_is_roots_and_nothing_is_locked_to_tell() -> None:
    assert gpu.clock_lock(True, 0, True).state == "ok"
    assert "CAP_SYS_ADMIN" in gpu.clock_lock(True, 0, False).detail
    other = gpu.clock_lock(True, 1000, False)
    assert (other.state, "user 1000" in other.detail) == ("warn", True)
    assert other.remedy is not None
    assert "nvidia-smi -lgc" in other.remedy


def test_the_capability_is_read_from_the_kernels_book(tmp_path: Path) -> None:
    book = tmp_path / "status"
    book.write_text("Name:\tx\nCapEff:\t0000000000200000\n")
    assert gpu.may_administer(book)
    without = tmp_path / "without"
    without.write_text("CapEff:\t00000000a80425fb\n")
    assert not gpu.may_administer(without)
    assert gpu.may_administer(tmp_path / "none")


def test_cards_on_the_bus_are_counted_without_a_driver(tmp_path: Path) -> None:
    devices = {
        "0": ("0x10de", "0x030000"),
        "1": ("0x10de", "0x030200"),
        "2": ("0x10de", "0x040300"),
        "3": ("0x8086", "0x030000"),
    }
    for name, (vendor, kind) in devices.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    (tmp_path / "empty").mkdir()
    assert pci_cards(tmp_path) == 2
    assert pci_cards(tmp_path / "none") == 0
