"""GPU checks in a subprocess, where the real pynvml reads simulated cards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE_S
from tests.sim.library import environment, read_calls
from tests.sim.machine import STILL
from tests.sim.scenario import MigSlice, Process, Scenario, two_cards

SCRIPT = """
import json, os, re, sys, time
from dataclasses import asdict
from pathlib import Path
from peftbench.doctor import Options
from peftbench.doctor.groups import GROUPS, examined

group, options, began_s = sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3])
scenario = Path(os.environ["PEFTBENCH_SIM_SCENARIO"])
epoch = f"epoch {time.time() - began_s!r}"  # by now all is imported: it began so long ago, however busy the machine is
scenario.write_text(re.sub("(?m)^epoch .*$", epoch, scenario.read_text()))
found = examined(group, GROUPS[group], Options(Path("none.db"), cadence_s=0.6, window_s=1.3, **options))
print(json.dumps([asdict(finding) for finding in found]))
"""
STEADY = {"power_w": 60.0, "power_period_s": None, "power_tick_s": 0.01, "energy_tick_s": 0.01}

Findings = dict[str, dict[str, Any]]


@pytest.fixture
def scenario_file(tmp_path: Path) -> Path:
    return tmp_path / "cards.scenario"


def found(
    library: Path, path: Path, scenario: Scenario, group: str = "gpu", began_s: float = 0.0, **options: object
) -> Findings:
    """Return what the checks of a group find on cards that were switched on `began_s` before."""
    scenario.write(path)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, group, json.dumps(options), str(began_s)],
        env={**os.environ, **environment(library, path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return {finding["check"]: finding for finding in json.loads(done.stdout)}


def states(findings: Findings, *states: str) -> set[str]:
    return {name for name, finding in findings.items() if finding["state"] in states}


def test_two_healthy_cards_have_nothing_to_mend(nvml_library: Path, scenario_file: Path) -> None:
    cards = found(nvml_library, scenario_file, STILL)
    of_a_card = ("", " mig", " persistence", " processes", " readings", " power", " temperature")
    names = [f"gpu {index}{what}" for index in (0, 1) for what in of_a_card]
    assert list(cards) == ["driver", "gpus", *names, "clock lock"]
    assert states(cards, "warn", "fail", "skip") <= {"clock lock"}  # the tests need not run as root
    assert cards["driver"]["detail"] == "580.65.06, up to CUDA 13.0"
    assert STILL.cards[1].uuid in cards["gpu 1"]["detail"]


@pytest.mark.slow
def test_nothing_is_set_on_a_card_and_nvml_is_closed(nvml_library: Path, scenario_file: Path) -> None:
    found(nvml_library, scenario_file, STILL)
    found(nvml_library, scenario_file, two_cards(0.0), "sensors")
    calls = [call.function for call in read_calls(scenario_file)]
    assert calls.count("nvmlShutdown") == len(calls) / 2 > 0
    assert {call for call in calls if "Init" not in call} == {"nvmlShutdown"}


@pytest.mark.parametrize(
    ("error", "state", "says"),
    [
        ("DRIVER_NOT_LOADED", {"warn", "fail"}, "the kernel module is not"),
        ("LIB_RM_VERSION_MISMATCH", {"fail"}, "mismatch"),
        ("NO_PERMISSION", {"fail"}, "Insufficient Permissions"),
        ("GPU_IS_LOST", {"fail"}, "lost"),
        ("LIBRARY_NOT_FOUND", {"skip", "warn"}, "NVML Shared Library Not Found"),
    ],
)
def test_a_driver_that_does_not_open(
    nvml_library: Path, scenario_file: Path, error: str, state: set[str], says: str
) -> None:
    cards = found(nvml_library, scenario_file, replace(STILL, init_error=error))
    assert cards["driver"]["state"] in state
    assert says in cards["driver"]["detail"]
    assert list(cards) == ["driver", "gpus", "clock lock"]


def test_a_card_that_refuses_to_be_read(nvml_library: Path, scenario_file: Path) -> None:
    refused = ("nvmlDeviceGetPowerUsage", "NVML_FI_DEV_POWER_INSTANT", "NVML_FI_DEV_POWER_AVERAGE")
    scenario = STILL.with_card(0, errors=dict.fromkeys(refused, "NO_PERMISSION"))
    cards = found(nvml_library, scenario_file, scenario)
    assert states(cards, "warn", "fail") - {"clock lock"} == {"gpu 0 readings", "gpu 0 power"}
    assert "no permission to read power_average_w, power_classic_w" in cards["gpu 0 readings"]["detail"]
    assert "/dev/nvidia" in cards["gpu 0 power"]["remedy"]


def test_a_lost_card_fails_and_the_other_is_still_looked_at(nvml_library: Path, scenario_file: Path) -> None:
    cards = found(nvml_library, scenario_file, STILL.with_card(0, lost_at_s=1.0))
    assert states(cards, "fail") == {"gpu 0"}
    assert cards["gpu 0"]["detail"] == "it does not respond (lost)"
    assert cards["gpu 1 readings"]["state"] == "ok"


def test_company_a_limit_and_no_persistence_are_warnings(nvml_library: Path, scenario_file: Path) -> None:
    scenario = STILL.with_card(
        1, processes=(Process(4711), Process(4712)), enforced_power_limit_w=50.0, persistence=False
    )
    cards = found(nvml_library, scenario_file, scenario)
    assert states(cards, "warn") - {"clock lock"} == {"gpu 1", "gpu 1 processes", "gpu 1 persistence"}
    assert cards["gpu 1 processes"]["detail"].startswith("2 processes")


@pytest.mark.slow
def test_one_card_alone_and_one_that_is_not_there(nvml_library: Path, scenario_file: Path) -> None:
    cards = found(nvml_library, scenario_file, STILL, gpu=STILL.cards[1].uuid)
    assert "gpu 1" in cards
    assert "gpu 0" not in cards
    absent = found(nvml_library, scenario_file, STILL, gpu="7")
    assert (absent["gpus"]["state"], "GPU '7': no such card" in absent["gpus"]["detail"]) == ("fail", True)


@pytest.mark.slow
def test_mig(nvml_library: Path, scenario_file: Path) -> None:
    uuid = "MIG-5ca1ab1e-0000-4000-8000-00000000000a"
    scenario = STILL.with_card(0, mig=True, slices=(MigSlice(uuid),))
    cards = found(nvml_library, scenario_file, scenario)
    assert (cards["gpu 0 mig"]["state"], cards["gpu 0 mig"]["detail"][:12]) == ("warn", "on, 1 slice:")
    assert cards["gpu 1 mig"]["state"] == "ok"
    slice_alone = found(nvml_library, scenario_file, scenario, gpu=uuid)
    assert "a MIG slice" in slice_alone["mig mig"]["detail"]
    assert "power_w" in slice_alone["mig readings"]["detail"]


@pytest.mark.slow
def test_a_hostile_name_does_nothing_to_the_terminal(nvml_library: Path, scenario_file: Path) -> None:
    scenario = STILL.with_card(0, name="A6000\x1b[2J\x1b]0;owned\x07[bold]")
    cards = found(nvml_library, scenario_file, scenario)
    assert cards["gpu 0"]["detail"].startswith("A6000[bold], GPU-")


@pytest.mark.slow
def test_without_a_card_there_is_nothing_to_watch(nvml_library: Path, scenario_file: Path) -> None:
    assert states(found(nvml_library, scenario_file, replace(STILL, cards=()), "sensors"), "skip") == {"sensors"}


@pytest.mark.slow
def test_quick_leaves_the_watching_out(nvml_library: Path, scenario_file: Path) -> None:
    cards = found(nvml_library, scenario_file, STILL, "sensors", quick=True)
    assert set(cards) == {f"gpu {index} {what}" for index in (0, 1) for what in ("cadence", "counter", "idle")}
    assert states(cards, "skip") == set(cards)


@pytest.mark.slow
def test_sensors_that_agree_move_and_are_quiet(nvml_library: Path, scenario_file: Path) -> None:
    flat = {**STEADY, "power_w": ((0.0, 60.0), (0.5, 60.4), (1.0, 60.0)), "power_period_s": 1.0}
    scenario = two_cards(0.0).with_card(0, **flat).with_card(1, **{**flat, "power_tick_s": 0.05})
    cards = found(nvml_library, scenario_file, scenario, "sensors", 50.0)
    assert states(cards, "ok") == set(cards)
    assert "sampling 2 cards" in cards["sensors"]["detail"]
    every_ms = float(cards["gpu 1 cadence"]["detail"].split(" every ")[1].split(" ms")[0])
    assert every_ms >= 45, "a busy machine misses changes, but sees none too many"
    assert "60 W" in cards["gpu 0 idle"]["detail"]
    assert "35 °C" in cards["gpu 0 idle"]["detail"]


@pytest.mark.slow
def test_a_counter_that_falls_and_power_that_moves(nvml_library: Path, scenario_file: Path) -> None:
    saw = {"power_w": ((0.0, 60.0), (0.25, 300.0), (0.5, 60.0)), "power_period_s": 0.5}
    falling = {"energy_wrap_mj": 30_000}  # every half second at 60 W
    scenario = two_cards(0.0).with_card(0, **{**STEADY, **saw}).with_card(1, **STEADY, **falling)
    cards = found(nvml_library, scenario_file, scenario, "sensors")
    assert (cards["gpu 0 idle"]["state"], "unsteady" in cards["gpu 0 idle"]["detail"]) == ("warn", True)
    assert cards["gpu 0 counter"]["state"] == "ok"
    assert (cards["gpu 1 counter"]["state"], "was reset" in cards["gpu 1 counter"]["detail"]) == ("warn", True)


@pytest.mark.slow
def test_a_power_mean_that_lags_behind_the_counter(nvml_library: Path, scenario_file: Path) -> None:
    doubling = tuple((float(second), 20.0 * 2**second) for second in range(17))  # a mean over 1 s is 28 % behind
    errors = {"NVML_FI_DEV_POWER_INSTANT": "NOT_SUPPORTED"}
    scenario = two_cards(0.0).with_card(0, **{**STEADY, "power_w": doubling, "errors": errors})
    cards = found(nvml_library, scenario_file, scenario, "sensors", gpu="0")
    assert cards["gpu 0 counter"]["state"] == "warn"
    assert "% apart, more than 5 %" in cards["gpu 0 counter"]["detail"]


@pytest.mark.slow
def test_a_card_that_is_lost_while_it_is_watched(nvml_library: Path, scenario_file: Path) -> None:
    scenario = two_cards(0.0).with_card(0, **STEADY).with_card(1, **STEADY)
    asked = ("nvmlDeviceGetFieldValues", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetTotalEnergyConsumption")
    lost = scenario.with_card(0, errors=dict.fromkeys(asked, ("GPU_IS_LOST", 61.5)))
    cards = found(nvml_library, scenario_file, lost, "sensors", 60.0)
    assert "gpu 0 counter" in states(cards, "fail")
    assert cards["gpu 1 counter"]["state"] == "ok"


@pytest.mark.slow
def test_foreign_company_is_no_rest(nvml_library: Path, scenario_file: Path) -> None:
    scenario = two_cards(0.0).with_card(0, **STEADY, processes=(Process(4711),))
    cards = found(nvml_library, scenario_file, scenario, "sensors", 50.0, gpu="0")
    assert (cards["gpu 0 idle"]["state"], "not idle" in cards["gpu 0 idle"]["detail"]) == ("warn", True)
