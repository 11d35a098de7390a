"""The NVML meter on simulated cards: the real pynvml reads them in a process of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peftbench.store.conditions import CardConditions
from peftbench.store.rows import reasons
from tests.sim.machine import STILL, Machine
from tests.sim.scenario import Card, MigSlice, Process, Scenario

FIRST, SECOND = STILL.cards
AT = 12.34
READ = """
from dataclasses import asdict
from peftbench.errors import MissingError
from peftbench.meters.nvml import NvmlMeter
from peftbench.meters.nvml_library import card_of, cards, open_nvml, torch_card

nvml, why = open_nvml()

def read(reference="0", computes_here=False):
    meter = NvmlMeter(nvml, card_of(nvml, reference), computes_here=lambda: computes_here)
    probe, reading = meter.probe(), meter.sample()
    return {"status": probe.status, "fields": dict(probe.fields), "facts": dict(probe.facts),
            "values": dict(reading.values), "missing": dict(reading.missing)}

def named(call):
    try:
        found = call()
        return None if found is None else found.uuid
    except MissingError as error:
        return f"{error.message} | {error.hint}"
"""


@pytest.fixture
def machine(nvml_library: Path, tmp_path: Path) -> Machine:
    return Machine(nvml_library, tmp_path / "cards.scenario")


def ask(machine: Machine, scenario: Scenario, *expressions: str, **variables: str) -> list[Any]:
    machine.play(scenario)
    done = machine.run(READ + f"print(json.dumps([{', '.join(expressions)}]))", **variables)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def test_every_field_of_a_whole_card_is_read(machine: Machine) -> None:
    scenario = STILL.with_card(
        0,
        memory_used_mib=1500.0,
        temperature_c=61.0,
        utilization_percent=93.0,
        clock_reasons=0x4,
        power_violation_ns=2e9,
        thermal_violation_ns=5e8,
        processes=(Process("self", 1400), Process(4711, 60), Process(4712, 40)),
    )
    (found,) = ask(machine, scenario, "read()")
    assert found["status"] == "ok"
    assert found["missing"] == {}
    assert set(found["fields"].values()) == {"ok"}
    assert found["values"] == {
        "power_instant_w": FIRST.instant_power_mw(AT) / 1e3,
        "power_average_w": FIRST.average_power_mw(AT) / 1e3,
        "power_classic_w": FIRST.usage_mw(AT) / 1e3,
        "power_w": FIRST.instant_power_mw(AT) / 1e3,
        "energy_j": FIRST.energy_counter_mj(AT) / 1e3,
        "device_used_mib": 1500.0,
        "process_vram_mib": 1400.0,
        "foreign_processes": 2,
        "sm_clock_mhz": 1800,
        "mem_clock_mhz": 8001,
        "temperature_c": 61,
        "gpu_util_pct": 93,
        "event_reasons": 0x4,
        "violation_power_s": 2.0,
        "violation_thermal_s": 0.5,
    }
    facts = found["facts"]
    assert facts.keys() == CardConditions.__annotations__.keys()
    assert facts["name"] == "NVIDIA RTX A6000"
    assert (facts["driver"], facts["cuda_driver"]) == ("580.65.06", "13.0")
    assert (facts["power_limit_w"], facts["persistence"], facts["mig"]) == (300.0, True, False)
    assert (facts["power_source"], facts["power_scope"]) == ("power_instant_w", "gpu")


def test_an_older_card_falls_back_to_the_classic_reading_and_says_so(machine: Machine) -> None:
    (found,) = ask(
        machine,
        STILL.with_card(
            1, errors={"NVML_FI_DEV_POWER_INSTANT": "NOT_SUPPORTED", "nvmlDeviceGetMemoryInfo": ("UNKNOWN", 99.0)}
        ),
        "read('1')",
    )
    assert found["values"]["power_w"] == found["values"]["power_classic_w"] == 30.0
    assert found["facts"]["power_source"] == "power_classic_w"
    assert found["missing"]["power_average_w"] == found["missing"]["power_instant_w"] == "unsupported"


def test_a_counter_that_only_the_old_function_knows_is_read(machine: Machine) -> None:
    errors = {"NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION": "NOT_SUPPORTED"}
    (found,) = ask(machine, STILL.with_card(0, errors=errors), "read()")
    assert found["values"]["energy_j"] == FIRST.energy_counter_mj(AT) / 1e3


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("NOT_SUPPORTED", "unsupported"),
        ("FUNCTION_NOT_FOUND", "unsupported"),
        ("NO_PERMISSION", "no_permission"),
        ("UNKNOWN", "lost"),
        ("TIMEOUT", "lost"),
    ],
)
def test_each_field_fails_alone_with_its_status(machine: Machine, error: str, status: str) -> None:
    questions = {
        "device_used_mib": ("nvmlDeviceGetMemoryInfo",),
        "energy_j": ("NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "nvmlDeviceGetTotalEnergyConsumption"),
        "temperature_c": ("nvmlDeviceGetTemperature",),
        "gpu_util_pct": ("nvmlDeviceGetUtilizationRates",),
        "foreign_processes": ("nvmlDeviceGetComputeRunningProcesses",),
        "event_reasons": ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"),
    }
    for field, names in questions.items():
        (found,) = ask(machine, STILL.with_card(0, errors=dict.fromkeys(names, error)), "read()")
        also = {"process_vram_mib"} if field == "foreign_processes" else {"process_vram_mib"} & found["missing"].keys()
        assert found["missing"].pop(field) == status
        assert found["missing"].keys() == also
        assert "power_w" in found["values"]


def test_no_power_at_all_has_no_watts_and_no_zero(machine: Machine) -> None:
    (found,) = ask(machine, STILL.with_card(0, power_w=None, energy_start_mj=None), "read()")
    for name in ("power_w", "power_instant_w", "power_average_w", "power_classic_w", "energy_j"):
        assert found["missing"][name] == "unsupported"
    (denied,) = ask(
        machine,
        STILL.with_card(
            0,
            errors=dict.fromkeys(
                ("NVML_FI_DEV_POWER_INSTANT", "NVML_FI_DEV_POWER_AVERAGE", "nvmlDeviceGetPowerUsage"), "NO_PERMISSION"
            ),
        ),
        "read()",
    )
    assert denied["missing"]["power_w"] == "no_permission"


def test_a_lost_card_says_lost_of_everything(machine: Machine) -> None:
    script = READ + (
        "meter = NvmlMeter(nvml, card_of(nvml, '0'), computes_here=lambda: False)\n"
        "first = meter.sample()\n"
        "pathlib.Path(os.environ['PEFTBENCH_SIM_SCENARIO'] + '.later').write_text('0 lost_at_s 0.0\\n')\n"
        "meter._processes_at = 0\n"
        "second = meter.sample()\n"
        "print(json.dumps([dict(first.missing), dict(second.values), dict(second.missing)]))"
    )
    machine.play(STILL)
    done = machine.run(script)
    assert done.returncode == 0, done.stderr
    before, values, after = json.loads(done.stdout)
    assert "lost" not in before.values()
    assert values == {}
    assert set(after.values()) == {"lost"}


def test_a_process_in_a_container_finds_itself_among_the_others(machine: Machine) -> None:
    alone = STILL.with_card(0, processes=(Process(900001, 700),))
    inside, before = ask(machine, alone, "read(computes_here=True)", "read()")
    assert (inside["values"]["foreign_processes"], inside["values"]["process_vram_mib"]) == (0, 700)
    assert before["values"]["foreign_processes"] == 1  # nothing is computed here yet: it is somebody else's
    crowd = STILL.with_card(0, processes=(Process(900001, 700), Process(900002, 30)))
    (found,) = ask(machine, crowd, "read(computes_here=True)")
    assert found["values"]["foreign_processes"] == 1
    assert found["missing"]["process_vram_mib"] == "unsupported"  # which of them it is cannot be told


def test_a_list_that_does_not_even_show_this_process_tells_nothing(machine: Machine) -> None:
    here, nobody = ask(machine, STILL, "read(computes_here=True)", "read()")
    assert here["missing"]["foreign_processes"] == here["missing"]["process_vram_mib"] == "unsupported"
    assert nobody["values"]["foreign_processes"] == 0


def test_graphics_alone_is_no_other_process(machine: Machine) -> None:
    scenario = STILL.with_card(0, processes=(Process(900001, 70, kind="graphics"),))
    assert ask(machine, scenario, "read()")[0]["values"]["foreign_processes"] == 0


@pytest.mark.parametrize("error", ["DRIVER_NOT_LOADED", "LIB_RM_VERSION_MISMATCH"])
def test_a_driver_that_is_not_there_is_words_and_no_exception(machine: Machine, error: str) -> None:
    machine.play(replace(STILL, init_error=error))
    script = "from peftbench.meters.nvml_library import open_nvml; found, why = open_nvml(); print(found, why)"
    import os
    import subprocess
    import sys

    from tests.sim.library import environment

    env = {**os.environ, **environment(machine.library, machine.path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("None NVML: ")


SLICES = (
    MigSlice("MIG-aaaa0000-0000-4000-8000-000000000000", memory_used_mib=900, processes=(Process("self", 850),)),
    MigSlice("MIG-bbbb0000-0000-4000-8000-000000000000"),
)
CUT = STILL.with_card(1, name="NVIDIA A100-SXM4-40GB", architecture="ampere", mig=True, slices=SLICES)


class TestWhichCard:
    def test_by_index_uuid_and_prefix(self, machine: Machine) -> None:
        found = ask(
            machine,
            CUT,
            *(
                f"named(lambda: card_of(nvml, {name!r}))"
                for name in ("1", FIRST.uuid, SLICES[1].uuid, "MIG-aa", "GPU-5ca1", "7")
            ),
            "[card.uuid for card in cards(nvml)]",
        )
        assert found[:4] == [SECOND.uuid, FIRST.uuid, SLICES[1].uuid, SLICES[0].uuid]
        assert "2 cards fit" in found[4]
        assert "no such card" in found[5]
        assert f"0 {FIRST.uuid}, 1 {SECOND.uuid}, MIG slice {SLICES[0].uuid}" in found[5]
        assert found[6] == [FIRST.uuid, SECOND.uuid, SLICES[0].uuid, SLICES[1].uuid]

    @pytest.mark.parametrize(
        ("uuid", "visible", "wanted"),
        [
            (None, FIRST.uuid, FIRST.uuid),
            (None, SECOND.uuid[:-1], None),  # a prefix that both cards have
            (FIRST.uuid.removeprefix("GPU-"), "", FIRST.uuid),
            (SECOND.uuid, "0", SECOND.uuid),  # CUDA's 0 may be NVML's 1: torch's word counts
            (None, "0", None),  # an index alone settles nothing where there are two
            (None, "", None),
            (None, f"{SECOND.uuid},{FIRST.uuid}", SECOND.uuid),
            (None, "MIG-bbbb", None),  # no such slice on these cards
        ],
    )
    def test_torchs_card_is_found_by_uuid(
        self, machine: Machine, uuid: str | None, visible: str, wanted: str | None
    ) -> None:
        assert ask(machine, STILL, f"named(lambda: torch_card(nvml, {uuid!r}, {visible!r}))") == [wanted]

    def test_the_only_card_is_the_one(self, machine: Machine) -> None:
        alone = replace(STILL, cards=(FIRST,))
        assert ask(machine, alone, "named(lambda: torch_card(nvml, None, ''))", CUDA_VISIBLE_DEVICES="0") == [
            FIRST.uuid
        ]

    def test_on_a_card_that_is_cut_the_slice_counts(self, machine: Machine) -> None:
        one = STILL.with_card(1, name="NVIDIA A100-SXM4-40GB", architecture="ampere", mig=True, slices=SLICES[:1])
        visible = f"named(lambda: torch_card(nvml, None, {SLICES[0].uuid!r}))"
        torchs = f"named(lambda: torch_card(nvml, {SECOND.uuid!r}, ''))"
        assert ask(machine, CUT, visible, torchs) == [SLICES[0].uuid, None]  # which of two cannot be told
        assert ask(machine, one, torchs) == [SLICES[0].uuid]

    def test_a_slice_has_its_own_memory_and_no_watts(self, machine: Machine) -> None:
        (found,) = ask(machine, CUT, f"read({SLICES[0].uuid!r}, True)")
        assert found["values"]["device_used_mib"] == 900
        assert (found["values"]["process_vram_mib"], found["values"]["foreign_processes"]) == (850, 0)
        assert found["missing"]["power_w"] == found["missing"]["energy_j"] == "unsupported"
        assert found["facts"]["mig"] is True
        assert found["facts"]["part_time_sensor"] is True


def test_reasons_have_words() -> None:
    assert reasons(0x44) == ["software power cap", "hardware thermal slowdown"]
    assert reasons(0) == []


def test_a_hostile_name_is_made_printable(machine: Machine) -> None:
    hostile = STILL.with_card(0, name="RTX\x1b[31m\u202e")
    (found,) = ask(machine, hostile, "read()")
    assert found["facts"]["name"].isprintable()


def test_cards_have_what_this_test_believes() -> None:
    assert isinstance(FIRST, Card)
    assert FIRST.shows_mean
    assert not SECOND.shows_mean
