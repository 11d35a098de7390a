"""The simulated NVML library answers the real pynvml as its scenario says: cards, processes, MIG, clocks."""

from __future__ import annotations

import json

import pynvml

from tests.sim.library import read_calls, read_locks
from tests.sim.machine import MIB, STILL, Machine
from tests.sim.scenario import MigSlice, Process

FIRST = STILL.cards[0]


def test_the_machine_and_its_cards(machine: Machine) -> None:
    asked = machine.play(STILL).ask(
        "n.nvmlSystemGetDriverVersion()",
        "n.nvmlSystemGetNVMLVersion()",
        "n.nvmlSystemGetCudaDriverVersion()",
        "n.nvmlSystemGetCudaDriverVersion_v2()",
        "n.nvmlDeviceGetCount()",
        "tried(n.nvmlDeviceGetHandleByIndex, 2)",
        "n.nvmlErrorString(15)",
    )
    assert asked == ["580.65.06", "13.580.65.06", 13000, 13000, 2, "InvalidArgument", "GPU is lost"]


def test_a_card_is_found_by_each_of_its_names(machine: Machine) -> None:
    index = "n.nvmlDeviceGetIndex"
    second = STILL.cards[1]
    asked = machine.play(STILL).ask(
        f"{index}(n.nvmlDeviceGetHandleByUUID('{second.uuid}'))",
        f"{index}(n.nvmlDeviceGetHandleByPciBusId('0000:81:00.0'))",
        f"{index}(n.nvmlDeviceGetHandleByPciBusId('{second.pci_bus_id}'))",
        "tried(n.nvmlDeviceGetHandleByUUID, 'GPU-none')",
        "tried(n.nvmlDeviceGetHandleByPciBusId, '0000:82:00.0')",
        "tried(n.nvmlDeviceGetHandleByPciBusId, 'there')",
    )
    assert asked == [1, 1, 1, "NotFound", "NotFound", "InvalidArgument"]


def test_what_a_card_is(machine: Machine) -> None:
    names = (
        "Name", "UUID", "Index", "MinorNumber", "Architecture", "PersistenceMode", "ComputeMode", "EccMode",
        "PowerManagementLimit", "PowerManagementDefaultLimit", "EnforcedPowerLimit", "PowerManagementLimitConstraints",
        "SupportedClocksEventReasons", "SupportedClocksThrottleReasons", "MigMode", "MaxMigDeviceCount", "Serial",
    )  # fmt: skip
    limits = {"power_limit_w": 250.5, "enforced_power_limit_w": 240.0, "default_power_limit_w": 300.0}
    scenario = STILL.with_card(0, **limits, ecc=True, compute_mode=3, persistence=False, supported_clock_reasons=0x1EF)
    asked = machine.play(scenario).ask(
        *(f"tried(n.nvmlDeviceGet{name}, card)" for name in names),
        "[getattr(n.nvmlDeviceGetPciInfo(card), name) for name in ('domain', 'bus', 'device', 'busId', 'busIdLegacy')]",
    )
    assert asked == [
        "NVIDIA RTX A6000", FIRST.uuid, 0, 0, pynvml.NVML_DEVICE_ARCH_AMPERE, 0, 3, [1, 1], 250_500, 300_000,
        240_000, [100_000, 300_000], 0x1EF, 0x1EF, "NotSupported", 0, "NotSupported",
        [0, 1, 0, "00000000:01:00.0", "0000:01:00.0"],
    ]  # fmt: skip


def test_curves_are_linear_and_clocks_step(machine: Machine) -> None:
    curve = ((10.0, 10.0), (20.0, 110.0))
    scenario = STILL.with_card(
        0, temperature_c=curve, memory_temperature_c=curve, utilization_percent=curve, memory_utilization_percent=7,
        memory_used_mib=curve, memory_reserved_mib=5, sm_clock_mhz=((0, 210), (12, 1410), (13, 1800)),
        memory_clock_mhz=((0, 405), (12.34, 8001)), clock_reasons=((0, 1), (12, 4), (13, 0)),
        power_violation_ns=((0, 0), (20, 2e9)), thermal_violation_ns=((0, 3), (12.34, 5e17), (12.34, 9)),
    )  # fmt: skip
    memory = "[(m.total, m.free, m.used) for m in [n.nvmlDeviceGetMemoryInfo(card)]]"
    memory_v2 = "[(m.total, m.reserved, m.free, m.used) for m in [n.nvmlDeviceGetMemoryInfo(card, n.nvmlMemory_v2)]]"
    asked = machine.play(scenario).ask(
        "n.nvmlDeviceGetTemperature(card, 0), n.nvmlDeviceGetTemperatureV(card, 0)",
        "*fields(card, n.NVML_FI_DEV_MEMORY_TEMP)",
        "*[(u.gpu, u.memory) for u in [n.nvmlDeviceGetUtilizationRates(card)]]",
        "[n.nvmlDeviceGetClockInfo(card, clock) for clock in (0, 1, 2)]",
        "[n.nvmlDeviceGetMaxClockInfo(card, clock) for clock in (0, 1, 2)]",
        "tried(n.nvmlDeviceGetClockInfo, card, 3), tried(n.nvmlDeviceGetClockInfo, card, 4)",
        "n.nvmlDeviceGetCurrentClocksEventReasons(card), n.nvmlDeviceGetCurrentClocksThrottleReasons(card)",
        "[n.nvmlDeviceGetViolationStatus(card, policy).violationTime for policy in (0, 1)]",
        "n.nvmlDeviceGetViolationStatus(card, 0).referenceTime",
        "tried(n.nvmlDeviceGetViolationStatus, card, 2)",
        f"*{memory}, *{memory_v2}",
    )
    total, reserved, used = 49140 * MIB, 5 * MIB, int(scenario.cards[0].value_at("memory_used_mib", 12.34) * MIB)
    free = total - reserved - used
    assert asked == [
        33, 33, 33, [33, 7], [1410, 1410, 8001], [2100, 2100, 8001], "NotSupported", "InvalidArgument", 4, 4,
        [1_234_000_000, 9], 1_700_000_012_340_000, "NotSupported", [total, free, used + reserved],
        [total, reserved, free, used],
    ]  # fmt: skip


def test_processes_come_and_go(machine: Machine) -> None:
    processes = (
        Process("self", 100), Process("env", 200.5), Process(4242, None, "graphics"), Process(4243, 5, to_s=12.0),
        Process(4244, 6, from_s=12.0, to_s=13.0), Process(4245, 7, "mps"), Process(4246, 8, from_s=13.0),
    )  # fmt: skip
    machine.play(STILL.with_card(0, processes=processes))
    kinds = [
        f"[(p.pid, p.usedGpuMemory) for p in n.nvmlDeviceGet{kind}RunningProcesses(card)]"
        for kind in ("Compute", "Graphics", "MPSCompute")
    ]
    on_other = "n.nvmlDeviceGetComputeRunningProcesses(n.nvmlDeviceGetHandleByIndex(1))"
    pid, compute, *rest = machine.ask("os.getpid()", *kinds, on_other, PEFTBENCH_SIM_SELF="777")
    assert compute == [[pid, 100 * MIB], [777, int(200.5 * MIB)], [4244, 6 * MIB]]
    assert rest == [[[4242, None]], [[4245, 7 * MIB]], []]
    pid, compute = machine.ask("os.getpid()", kinds[0])
    assert compute == [[pid, 100 * MIB], [4244, 6 * MIB]]


def test_mig_slices_have_memory_and_processes_of_their_own(machine: Machine) -> None:
    small = MigSlice("MIG-11111111-1111-4111-8111-111111111111", memory_used_mib=100, processes=(Process(31, 64),))
    large = MigSlice("MIG-22222222-2222-4222-8222-222222222222", "MIG 2g.10gb", 9856, gpu_instance=3)
    scenario = STILL.with_card(0, mig=True, slices=(small, large), processes=(Process(30, 1),), energy_start_mj=0)
    script = f"""
handles = [n.nvmlDeviceGetMigDeviceHandleByIndex(card, index) for index in range(2)]
one = n.nvmlDeviceGetHandleByUUID("{small.uuid}")
memory = n.nvmlDeviceGetMemoryInfo(one)
parent = n.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handles[1])
refused = [
    n.nvmlDeviceGetPowerUsage, n.nvmlDeviceGetTotalEnergyConsumption, n.nvmlDeviceGetUtilizationRates,
    n.nvmlDeviceGetEnforcedPowerLimit, n.nvmlDeviceGetCurrentClocksEventReasons, n.nvmlDeviceGetMinorNumber,
]
processes = [[(p.pid, p.gpuInstanceId) for p in n.nvmlDeviceGetComputeRunningProcesses(h)] for h in (card, *handles)]
print(json.dumps([
    n.nvmlDeviceGetMigMode(card), n.nvmlDeviceGetMaxMigDeviceCount(card),
    [n.nvmlDeviceGetUUID(handle) for handle in handles], n.nvmlDeviceGetName(handles[1]),
    n.nvmlDeviceGetIndex(handles[1]), n.nvmlDeviceGetGpuInstanceId(handles[1]),
    [n.nvmlDeviceIsMigDeviceHandle(handle).value for handle in (card, one)],
    [memory.total, memory.used], n.nvmlDeviceGetUUID(parent), processes,
    [tried(call, one) for call in refused], tried(n.nvmlDeviceGetClockInfo, one, 1),
    fields(one, n.NVML_FI_DEV_POWER_INSTANT), tried(n.nvmlDeviceGetUtilizationRates, card),
    tried(n.nvmlDeviceGetMigDeviceHandleByIndex, card, 2), tried(n.nvmlDeviceGetMigDeviceHandleByIndex, card, 7),
    tried(n.nvmlDeviceGetMigDeviceHandleByIndex, n.nvmlDeviceGetHandleByIndex(1), 0),
    tried(n.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, card), n.nvmlDeviceGetTotalEnergyConsumption(parent),
]))
"""
    done = machine.play(scenario).run(script)
    assert done.returncode == 0, done.stderr
    none = 0xFFFFFFFF
    assert json.loads(done.stdout) == [
        [1, 1], 7, [small.uuid, large.uuid], "MIG 2g.10gb", 1, 3, [0, 1], [4864 * MIB, 100 * MIB], FIRST.uuid,
        [[[30, none], [31, 7]], [[31, 7]], []], ["NotSupported"] * 6, "NotSupported", [-3], "NotSupported", "NotFound",
        "InvalidArgument", "NotSupported", "InvalidArgument", scenario.cards[0].energy_counter_mj(12.34),
    ]  # fmt: skip


def test_a_clock_lock_is_the_machines_and_the_calls_are_logged(machine: Machine) -> None:
    clock, other = "n.nvmlDeviceGetClockInfo(card, 1)", "n.nvmlDeviceGetHandleByIndex(1)"
    machine.play(STILL)
    pid, _, locked = machine.ask("os.getpid()", "n.nvmlDeviceSetGpuLockedClocks(card, 1410, 1410)", clock)
    assert locked == 1410
    assert read_locks(machine.path) == {0: (1410, 1410)}
    assert machine.ask(clock, f"n.nvmlDeviceGetClockInfo({other}, 1)") == [1410, 1590]
    machine.ask(f"n.nvmlDeviceSetGpuLockedClocks({other}, 300, 900)")
    assert read_locks(machine.path) == {0: (1410, 1410), 1: (300, 900)}
    assert machine.ask("n.nvmlDeviceResetGpuLockedClocks(card)", clock, f"n.nvmlDeviceGetClockInfo({other}, 1)") == [
        None, 1800, 900,
    ]  # fmt: skip
    assert read_locks(machine.path) == {1: (300, 900)}

    calls = read_calls(machine.path)
    assert [call.function for call in calls] == [
        "nvmlInitWithFlags", "nvmlDeviceSetGpuLockedClocks", "nvmlInitWithFlags", "nvmlInitWithFlags",
        "nvmlDeviceSetGpuLockedClocks", "nvmlInitWithFlags", "nvmlDeviceResetGpuLockedClocks",
    ]  # fmt: skip
    assert (calls[1].pid, calls[1].t_s, calls[1].card, calls[1].arguments) == (pid, 12.34, 0, (1410, 1410))
    assert (calls[4].card, calls[4].arguments, calls[0].card, {call.result for call in calls}) == (
        1, (300, 900), None, {0},
    )  # fmt: skip


def test_a_card_may_hold_another_clock_than_asked(machine: Machine) -> None:
    machine.play(STILL.with_card(0, clock_holds_mhz=1395))
    clock = "n.nvmlDeviceGetClockInfo(card, 1)"
    assert machine.ask(clock, "n.nvmlDeviceSetGpuLockedClocks(card, 1410, 1410)", clock) == [1800, None, 1395]


def test_locking_may_be_forbidden(machine: Machine) -> None:
    machine.play(STILL.with_card(0, lock_permission=False))
    asked = machine.ask(
        "tried(n.nvmlDeviceSetGpuLockedClocks, card, 1410, 1410), tried(n.nvmlDeviceResetGpuLockedClocks, card)",
        "n.nvmlDeviceGetClockInfo(card, 1)",
    )
    assert asked == ["NoPermission", "NoPermission", 1800]
    assert [call.result for call in read_calls(machine.path)] == [0, 4, 4]
    assert read_locks(machine.path) == {}


def test_the_library_is_started_and_stopped_by_count(machine: Machine) -> None:
    script = """
n.nvmlInitWithFlags(0)
n.nvmlShutdown()
still = n.nvmlDeviceGetCount()
n.nvmlShutdown()
print(json.dumps([still, tried(n.nvmlDeviceGetCount), tried(n.nvmlDeviceGetName, card), tried(n.nvmlShutdown)]))
"""
    asked = json.loads(machine.play(STILL).run(script).stdout)
    assert asked == [2, "Uninitialized", "Uninitialized", "Uninitialized"]
    assert [call.function[4:12] for call in read_calls(machine.path)] == ["InitWith"] * 2 + ["Shutdown"] * 3


def test_threads_may_ask_at_once(machine: Machine) -> None:
    script = """
from concurrent.futures import ThreadPoolExecutor
def ask(_):
    n.nvmlInit()
    shown = n.nvmlDeviceGetTotalEnergyConsumption(card)
    n.nvmlShutdown()
    return shown
with ThreadPoolExecutor(8) as pool:
    print(json.dumps(sorted(set(pool.map(ask, range(400))))))
"""
    done = machine.play(STILL).run(script)
    assert json.loads(done.stdout) == [FIRST.energy_counter_mj(12.34)]
    assert len(read_calls(machine.path)) == 801
