"""The simulated library fails as its scenario says, and refuses a scenario that it does not understand."""

from __future__ import annotations

import json
from dataclasses import replace

import pynvml
import pytest

from tests.sim.library import read_calls
from tests.sim.machine import EPOCH, STILL, Machine
from tests.sim.scenario import Scenario

FIRST = STILL.cards[0]


def test_what_is_none_is_not_supported(machine: Machine) -> None:
    gone = dict.fromkeys(
        (
            "power_w", "energy_start_mj", "power_limit_w", "memory_total_mib", "temperature_c", "utilization_percent",
            "sm_clock_mhz", "max_sm_clock_mhz", "clock_reasons", "persistence", "power_violation_ns",
        )
    )  # fmt: skip
    calls = (
        "PowerUsage, card", "TotalEnergyConsumption, card", "PowerManagementLimit, card", "MemoryInfo, card",
        "Temperature, card, 0", "TemperatureV, card, 0", "UtilizationRates, card", "ClockInfo, card, 1",
        "MaxClockInfo, card, 1", "CurrentClocksEventReasons, card", "PersistenceMode, card", "EccMode, card",
        "ViolationStatus, card, 0",
    )  # fmt: skip
    asked = machine.play(STILL.with_card(0, **gone)).ask(*(f"tried(n.nvmlDeviceGet{call})" for call in calls))
    assert asked == ["NotSupported"] * len(calls)


def test_fields_fail_one_by_one(machine: Machine) -> None:
    errors = {"NVML_FI_DEV_POWER_INSTANT": "NO_PERMISSION", "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP": "TIMEOUT"}
    counters = {"sw_thermal_ns": 1e9, "hw_thermal_ns": 2e9, "power_brake_ns": 3e9, "thermal_violation_ns": 4e9}
    names = (
        "POWER_AVERAGE", "POWER_INSTANT", "PERF_POLICY_POWER", "PERF_POLICY_THERMAL", "PERF_POLICY_SYNC_BOOST",
        "POWER_MIN_LIMIT", "POWER_MAX_LIMIT", "POWER_DEFAULT_LIMIT", "POWER_CURRENT_LIMIT", "POWER_REQUESTED_LIMIT",
        "CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN", "CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN",
        "CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN",
    )  # fmt: skip
    ids = ", ".join(f"n.NVML_FI_DEV_{name}" for name in names)
    asked = machine.play(STILL.with_card(0, errors=errors, **counters)).ask(
        f"fields(card, {ids}, 9999)",
        "[v.timestamp for v in n.nvmlDeviceGetFieldValues(card, [n.NVML_FI_DEV_POWER_AVERAGE])]",
        f"[v.valueType for v in n.nvmlDeviceGetFieldValues(card, [{ids}])][:4]",
        "n.nvmlDeviceGetViolationStatus(card, 0).violationTime",
    )
    limits = [100_000, 300_000, 300_000, 300_000, 300_000]
    average = FIRST.average_power_mw(12.34)
    shown = [average, -4, -10, 4_000_000_000, -3, *limits, 1_000_000_000, 2_000_000_000, 3_000_000_000, -2]
    assert asked == [shown, [1_700_000_012_340_000], [1, 1, 3, 3], 0]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        ("NOT_SUPPORTED", "NotSupported"), ("NO_PERMISSION", "NoPermission"), ("UNKNOWN", "Unknown"),
        ("FUNCTION_NOT_FOUND", "FunctionNotFound"), ("TIMEOUT", "Timeout"), ("GPU_IS_LOST", "GpuIsLost"),
        ("RESET_REQUIRED", "ResetRequired"), ("IN_USE", "InUse"), ("OPERATING_SYSTEM", "OperatingSystem"),
    ],
)  # fmt: skip
def test_a_function_fails_as_told(machine: Machine, error: str, raised: str) -> None:
    faults = {"nvmlDeviceGetPowerUsage": error, "nvmlDeviceGetMemoryInfo": error}
    asked = machine.play(STILL.with_card(0, errors=faults)).ask(
        "tried(n.nvmlDeviceGetPowerUsage, card), tried(n.nvmlDeviceGetMemoryInfo, card)",
        "tried(n.nvmlDeviceGetMemoryInfo, card, n.nvmlMemory_v2)",
        "n.nvmlDeviceGetTemperature(card, 0)",
        "n.nvmlDeviceGetPowerUsage(n.nvmlDeviceGetHandleByIndex(1))",
    )
    assert asked == [raised, raised, raised, 35, 30_000]


def test_a_missing_function_is_pynvmls_own_error(machine: Machine) -> None:
    faults = {"nvmlDeviceGetComputeRunningProcesses": "FUNCTION_NOT_FOUND"}
    machine.play(STILL.with_card(0, errors=faults))
    script = """
try:
    n.nvmlDeviceGetComputeRunningProcesses(card)
except n.NVMLLibraryMismatchError:
    print("mismatch")
"""
    assert machine.run(script).stdout == "mismatch\n"


def test_an_error_has_its_time(machine: Machine) -> None:
    faults = {"nvmlDeviceGetPowerUsage": ("TIMEOUT", 5.0, 6.0), "NVML_FI_DEV_POWER_INSTANT": ("UNKNOWN", 5.5)}
    seen = []
    for t_s in (4.9, 5.0, 5.9, 6.0):
        scenario = replace(STILL.with_card(0, errors=faults, power_w=50, power_period_s=None), still_at_s=t_s)
        usage = "tried(n.nvmlDeviceGetPowerUsage, card)"
        seen.append(machine.play(scenario).ask(usage, "*fields(card, n.NVML_FI_DEV_POWER_INSTANT)"))
    assert seen == [[50_000, 50_000], ["Timeout", 50_000], ["Timeout", -999], [50_000, -999]]


def test_a_lost_card_answers_nothing_and_the_other_goes_on(machine: Machine) -> None:
    machine.play(STILL.with_card(0, lost_at_s=20.0))
    script = """
n.nvmlShutdown()
scenario = pathlib.Path(os.environ["PEFTBENCH_SIM_SCENARIO"])
scenario.write_text(scenario.read_text().replace("still_at_s 12.34", "still_at_s 20.0"))
n.nvmlInit()
other = n.nvmlDeviceGetHandleByIndex(1)
lost = [
    tried(n.nvmlDeviceGetName, card), tried(n.nvmlDeviceGetFieldValues, card, [186]),
    tried(n.nvmlDeviceGetHandleByIndex, 0), tried(n.nvmlDeviceResetGpuLockedClocks, card),
    tried(n.nvmlDeviceGetComputeRunningProcesses, card),
]
print(json.dumps([*lost, n.nvmlDeviceGetPowerUsage(other), n.nvmlDeviceGetCount()]))
"""
    assert json.loads(machine.run(script).stdout) == ["GpuIsLost"] * 5 + [30_000, 2]


def test_a_slow_card_is_slow(machine: Machine) -> None:
    machine.play(STILL.with_card(0, slow_ms=120))
    (slow_s,) = machine.ask(
        "(lambda since: (n.nvmlDeviceGetName(card), time.perf_counter() - since)[1])(time.perf_counter())"
    )
    assert slow_s >= 0.12


@pytest.mark.parametrize(
    ("error", "raised"),
    [("DRIVER_NOT_LOADED", "DriverNotLoaded"), ("LIB_RM_VERSION_MISMATCH", "LibRmVersionMismatch")],
)
def test_the_library_may_not_start(machine: Machine, error: str, raised: str) -> None:
    done = machine.play(replace(STILL, init_error=error)).run("")
    assert f"NVMLError_{raised}" in done.stderr
    assert [call.result for call in read_calls(machine.path)] == [getattr(pynvml, f"NVML_ERROR_{error}")]


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("temperature_c 0.0:35.0", "temprature_c 0.0:35.0"),
        ("temperature_c 0.0:35.0", "temperature_c 0.0:35.0 1.0"),
        ("temperature_c 0.0:35.0", "temperature_c 2.0:35.0 1.0:36.0"),
        ("temperature_c 0.0:35.0", "temperature_c"),
        ("slow_ms 0.0", "slow_ms soon"),
        ("slow_ms 0.0", "error nvmlDeviceGetPowerUsge TIMEOUT 0 inf"),
        ("slow_ms 0.0", "error NVML_FI_DEV_POWER_INSTANCE TIMEOUT 0 inf"),
        ("slow_ms 0.0", "error nvmlDeviceGetPowerUsage TIMED_OUT 0 inf"),
        ("slow_ms 0.0", "process compute me 1 0 inf"),
        ("slow_ms 0.0", "process compute 12 1 0"),
        ("power_tick_s 0.1", "power_tick_s 0"),
        ("card 1", "card 2"),
        ("driver_version 580.65.06", "driver 580.65.06"),
        ("epoch 1700000000.0", ""),
    ],
)
def test_a_scenario_that_is_not_understood_is_refused(machine: Machine, good: str, bad: str) -> None:
    machine.play(STILL)
    text = machine.path.read_text()
    assert f"{good}\n" in text
    machine.path.write_text(text.replace(f"{good}\n", f"{bad}\n" if bad else "", 1))
    done = machine.run("")
    assert "NVMLError_Unknown" in done.stderr
    assert "simulated NVML: " in done.stderr
    assert (bad or "no epoch") in done.stderr


def test_no_scenario_is_refused(machine: Machine) -> None:
    done = machine.run("", PEFTBENCH_SIM_SCENARIO="/nowhere")
    assert "NVMLError_Unknown" in done.stderr
    assert "names no readable file: /nowhere" in done.stderr


def test_a_machine_without_cards(machine: Machine) -> None:
    assert machine.play(Scenario(EPOCH, ())).ask("n.nvmlDeviceGetCount()") == [0]


def test_cards_stand_in_the_order_of_their_index(machine: Machine) -> None:
    with pytest.raises(ValueError, match="card 1 stands at place 0"):
        machine.play(Scenario(EPOCH, STILL.cards[::-1]))
