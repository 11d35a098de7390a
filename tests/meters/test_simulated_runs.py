"""Whole runs in real workers on simulated cards: right figures, flags and NULLs, and training goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peftbench.analysis.cost import cost
from peftbench.analysis.flags import flags
from peftbench.jobs.follow import Update
from peftbench.jobs.launch import Launched, launch
from peftbench.jobs.liveness import liveness
from peftbench.spec import Resolved
from peftbench.store.reader import Reader
from peftbench.store.rows import MeterSettings, Phase, RunRecord, RunSettings, SampleRow
from tests.patience import PATIENCE_S
from tests.sim.library import environment, read_calls, read_locks
from tests.sim.scenario import Card, MigSlice, Process, Scenario, play_later, two_cards
from tests.tiny import TASKS

pytestmark = pytest.mark.slow

SECONDS = ["tasks.sst.source.train=4000", "train.epochs=1"]  # makes `train` of sst last a second and more
SETTINGS = MeterSettings(period_ms=50, idle_s=1.2, gpu="0")
# Flags that depend on how fast and how busy the machine is that runs the test, whatever the simulated card does.
OF_THE_HOST = {"cpu_only", "short_window", "short_idle", "busy_machine", "cold_cache", "swap"}


class Machine:
    """A simulated machine for the workers that a test starts."""

    def __init__(
        self, library: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Resolved]
    ) -> None:
        self.path, self.tiny = folder / "cards.scenario", tiny
        self.db = folder / "runs.db"
        for name, value in environment(library, self.path).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OMP_NUM_THREADS", "1")  # several would wait for each other on a shared machine

    def play(self, **changes: Any) -> Scenario:
        scenario = two_cards(time.time()).with_card(0, processes=(Process("self", 900),), **changes)
        scenario.write(self.path)
        return scenario

    def launch(self, overrides: list[str] = SECONDS, settings: MeterSettings = SETTINGS) -> Launched:
        return launch(self.tiny("lora-r12", overrides), self.db, None, settings, RunSettings(resumes=0))

    def run(self, act: Callable[[Update, Launched], None] = lambda update, launched: None, **kwargs: Any) -> RunRecord:
        """Follow a run to its end, and do something at every look."""
        launched = self.launch(**kwargs)
        for update in launched.follow():
            act(update, launched)
        self.log = launched.log.read_text()
        with Reader(self.db) as reader:
            return reader.record(reader.run(launched.run_id))

    def samples(self, record: RunRecord) -> list[SampleRow]:
        with Reader(self.db) as reader:
            return reader.samples(record.run.id)


@pytest.fixture
def machine(
    nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Resolved]
) -> Machine:
    return Machine(nvml_library, tmp_path, monkeypatch, tiny)


def names(record: RunRecord) -> set[str]:
    return {flag.name for flag in flags(record)}


def phase(record: RunRecord, name: str, task: str | None = None) -> Phase:
    return next(p for p in record.phases if p.phase == name and p.task == task)


def trains(update: Update) -> bool:
    in_training = update.progress is not None and update.progress.phase == "train"
    return in_training and update.run.worker is not None and liveness(update.run.worker) == "alive"


class Fall:
    """Something befalls card 0 half a second after the run was first seen to train, and then the run is stopped."""

    def __init__(self, scenario: Scenario, path: Path, what: str | None, stop_after_s: float) -> None:
        self._scenario, self._path, self._what, self._stop_after_s = scenario, path, what, stop_after_s
        self.at_s: float | None = None
        """When, in the scenario's seconds; None: the run was not seen to train yet."""
        self._epochs = 0
        self._stopped = False

    def __call__(self, update: Update, launched: Launched) -> None:
        now_s = time.time() - self._scenario.epoch
        if self.at_s is None:
            if trains(update):
                self.at_s, self._epochs = now_s + 0.5, update.run.epochs_done
                if self._what is not None:
                    play_later(self._path, 0, **{self._what: self.at_s})
            return
        over = now_s > self.at_s + self._stop_after_s and update.run.epochs_done >= self._epochs + 4
        if over and not self._stopped:
            self._stopped = True  # asked twice, it would be killed
            launched.stop()


def true_j(scenario: Scenario, row: Phase, card: int = 0) -> float:
    start = row.usage.started_s - scenario.epoch
    return scenario.cards[card].energy_between_j(start, start + row.usage.window_s)


def assert_finished(record: RunRecord, machine: Machine) -> None:
    assert (record.run.state, record.run.exit_code) == ("finished", 0), machine.log


def test_a_healthy_card_has_every_figure(machine: Machine) -> None:
    scenario = machine.play(memory_used_mib=[(0, 400), (60, 2800)], temperature_c=[(0, 40), (60, 100)])
    record = machine.run()
    assert_finished(record, machine)
    whole, train, idle = phase(record, "run"), phase(record, "train", "sst"), phase(record, "idle")
    # Counter and sensor are at most one tick of 0.1 s behind: too much at the start and too little at the end, so that
    # the counter is off by one tick of the highest power at most.
    assert whole.usage.energy_j == pytest.approx(true_j(scenario, whole), abs=0.1 * 300 + 1)
    assert whole.usage.energy_integrated_j == pytest.approx(true_j(scenario, whole), abs=2 * 0.1 * 300)
    for row in (train, idle):
        assert abs(row.usage.energy_j - true_j(scenario, row)) <= 2 * 0.1 * 300
        # the sensor is up to 0.1 s behind, which on the saw-tooth's edges is some 10 W
        assert row.usage.power_w == pytest.approx(true_j(scenario, row) / row.usage.window_s, rel=0.2)
    assert whole.usage.power_peak_w > 280
    assert train.usage.sm_clock_mhz == 1800
    assert train.usage.process_vram_mib == 900
    start_s = whole.usage.started_s - scenario.epoch
    end_s = train.usage.started_s + train.usage.window_s - scenario.epoch
    assert train.usage.device_delta_mib == pytest.approx((end_s - start_s) * 40, abs=60)
    assert 40 < train.usage.temperature_start_c < train.usage.temperature_end_c
    assert train.usage.energy_so_far_j == pytest.approx(
        scenario.cards[0].energy_between_j(start_s, end_s), abs=2 * 0.1 * 300 + 20
    )
    assert record.run.conditions["gpu"]["uuid"] == scenario.cards[0].uuid
    cadence = record.run.conditions["sampler"]
    assert cadence["period_ms"] == 50
    assert 40 < cadence["median_ms"] <= cadence["p95_ms"]
    assert names(record) <= OF_THE_HOST
    rows = machine.samples(record)
    assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
    assert whole.usage.window_s / 3 < len(rows) < whole.usage.window_s + 3
    assert max(row.power_peak_w for row in rows) > 280


@pytest.mark.soak
def test_throttling_is_drawn_where_it_happened_and_flagged(machine: Machine) -> None:
    machine.play(clock_reasons=[(0, 0x1), (0.2, 0x40)], thermal_violation_ns=[(0, 0), (100, 50e9)], sm_clock_mhz=900)
    record = machine.run()
    assert_finished(record, machine)
    train = phase(record, "train", "sst")
    assert train.usage.event_reasons == 0x40
    assert train.usage.throttled_s == pytest.approx(train.usage.window_s, rel=0.1)
    assert train.usage.violation_thermal_s == pytest.approx(train.usage.window_s / 2, rel=0.1)
    assert train.usage.violation_power_s == 0
    assert "throttled" in names(record)
    assert all(row.event_reasons == 0x40 for row in machine.samples(record) if row.phase == "train")


@pytest.mark.parametrize("how", ["reset", pytest.param("wrap", marks=pytest.mark.soak)])
def test_a_counter_that_falls_back_costs_no_joule(machine: Machine, how: str) -> None:
    wrap = {"energy_start_mj": 0, "energy_wrap_mj": 1_200_000} if how == "wrap" else {}  # every 6 s
    scenario = machine.play(power_w=200.0, power_period_s=None, **wrap)
    fall = Fall(scenario, machine.path, "energy_reset_at_s" if how == "reset" else None, stop_after_s=7.0)
    record = machine.run(fall, overrides=["tasks.sst.source.train=800", "train.epochs=5000"])
    assert record.run.state == "stopped", machine.log
    whole = phase(record, "run")
    assert whole.usage.counter_resets >= 1
    # The counter is up to a tick of 0.1 s behind at the start, at the end and where it fell.
    assert whole.usage.energy_j == pytest.approx(
        true_j(scenario, whole), abs=(2 + whole.usage.counter_resets) * 0.1 * 200
    )
    assert "counter_reset" in names(record)
    assert "lost" not in names(record)


def test_a_card_lost_in_mid_run_leaves_nulls_and_the_training_goes_on(machine: Machine) -> None:
    scenario = machine.play()
    fall = Fall(scenario, machine.path, "lost_at_s", stop_after_s=4.0)
    record = machine.run(fall, overrides=["tasks.sst.source.train=800", "train.epochs=5000"])
    lost_at_s = fall.at_s
    assert record.run.state == "stopped", machine.log
    assert record.run.dev_avg is not None
    whole, idle = phase(record, "run"), phase(record, "idle")
    assert idle.usage.energy_j is not None
    for name in ("energy_j", "energy_integrated_j", "power_w", "energy_so_far_j"):
        assert getattr(whole.usage, name) is None
        assert whole.usage.missing[name] == "lost"
    after = [
        p for p in record.phases if p.usage.started_s > scenario.epoch + lost_at_s and p.phase in ("train", "eval")
    ]
    assert len(after) > 3
    for row in after:
        assert (row.usage.device_peak_mib, row.usage.temperature_end_c, row.usage.event_reasons) == (None, None, None)
        assert row.usage.missing["device_peak_mib"] == "lost"
        assert row.wall_s > 0
    assert "lost" in names(record)
    last = machine.samples(record)[-1]
    assert (last.power_w, last.energy_j, last.temperature_c) == (None, None, None)
    assert last.rss_mib is not None
    assert cost(record).run_wh is None


@pytest.mark.soak
def test_a_counter_that_stands_still_is_no_zero(machine: Machine) -> None:
    scenario = machine.play(energy_wrap_mj=1)  # whatever it counts, it shows 0
    record = machine.run()
    assert_finished(record, machine)
    whole = phase(record, "run")
    assert (whole.usage.energy_j, whole.usage.missing["energy_j"]) == (None, "stuck")
    assert cost(record).run_wh * 3600 == pytest.approx(true_j(scenario, whole), rel=0.03)
    assert "counter_stuck" in names(record)


@pytest.mark.soak
def test_what_is_not_permitted_is_null_and_integrated_power_stands_in(machine: Machine) -> None:
    denied = (
        "NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetViolationStatus",
    )
    scenario = machine.play(errors=dict.fromkeys(denied, "NO_PERMISSION"))
    record = machine.run()
    assert_finished(record, machine)
    whole = phase(record, "run")
    assert (whole.usage.energy_j, whole.usage.violation_power_s) == (None, None)
    assert whole.usage.missing["energy_j"] == whole.usage.missing["violation_thermal_s"] == "no_permission"
    assert whole.usage.energy_so_far_j == pytest.approx(whole.usage.energy_integrated_j)
    spent = cost(record)
    assert spent.energy_source == "integrated"
    assert spent.run_wh * 3600 == pytest.approx(true_j(scenario, whole), rel=0.03)


@pytest.mark.soak
def test_a_card_that_knows_next_to_nothing_stores_no_zeros(machine: Machine) -> None:
    nothing = dict.fromkeys(
        ("power_w", "energy_start_mj", "temperature_c", "utilization_percent", "sm_clock_mhz", "memory_clock_mhz")
    )
    machine.play(
        **nothing, power_period_s=None, clock_reasons=None, power_violation_ns=None, thermal_violation_ns=None,
        power_limit_w=None, enforced_power_limit_w=None, default_power_limit_w=None, persistence=None,
    )  # fmt: skip
    record = machine.run()
    assert_finished(record, machine)
    assert not any(p.phase == "idle" for p in record.phases)  # nothing to measure there
    train = phase(record, "train", "sst").usage
    for name in ("energy_j", "energy_integrated_j", "power_w", "power_peak_w", "sm_clock_mhz", "gpu_util_pct",
                 "temperature_start_c", "event_reasons", "throttled_s", "violation_power_s"):  # fmt: skip
        assert getattr(train, name) is None, name
        assert train.missing[name] == "unsupported"
    assert train.process_vram_mib == 900
    spent = cost(record)
    assert (spent.power_w, spent.run_wh, spent.net_wh, spent.vram_mib) == ({}, None, None, 900)


@pytest.mark.soak
def test_a_mig_slice_has_its_memory_and_no_watts(machine: Machine) -> None:
    uuid = "MIG-aaaa0000-0000-4000-8000-000000000000"
    piece = MigSlice(uuid, memory_used_mib=700, processes=(Process("self", 650),))
    machine.play(name="NVIDIA A100-SXM4-40GB", mig=True, slices=(piece,))
    record = machine.run(settings=replace(SETTINGS, gpu=uuid))
    assert_finished(record, machine)
    train = phase(record, "train", "sst").usage
    assert (train.process_vram_mib, train.device_peak_mib, train.foreign_processes) == (650, 700, 0)
    assert (train.power_w, train.missing["power_w"]) == (None, "unsupported")
    assert record.run.conditions["gpu"]["mig"] is True
    assert "mig" in names(record)


def test_a_foreign_process_marks_the_run_as_shared(machine: Machine) -> None:
    machine.play()
    scenario = two_cards(time.time()).with_card(0, processes=(Process("self", 900), Process(4242, 3000, from_s=2.0)))
    scenario.write(machine.path)
    record = machine.run()
    assert_finished(record, machine)
    assert phase(record, "idle").usage.foreign_processes in (0, 1)
    assert phase(record, "train", "sst").usage.foreign_processes == 1
    assert "shared_gpu" in names(record)


@pytest.mark.soak
def test_no_driver_is_said_and_nothing_else_changes(machine: Machine) -> None:
    replace(two_cards(time.time()), init_error="DRIVER_NOT_LOADED").write(machine.path)
    record = machine.run(settings=MeterSettings())
    assert_finished(record, machine)
    train = phase(record, "train", "sst").usage
    assert (train.power_w, train.missing["power_w"]) == (None, "no_driver")
    assert train.cpu_s > 0
    assert names(record) <= OF_THE_HOST
    assert "Driver Not Loaded" in record.run.conditions["meters"]["nvml"]["detail"]


@pytest.mark.soak
def test_the_same_weights_come_of_it_with_and_without_a_card(machine: Machine) -> None:
    machine.play()
    metered = machine.run(overrides=[])
    unmetered = machine.run(overrides=[], settings=MeterSettings(period_ms=60_000))
    assert [s.value for s in metered.scores] == [s.value for s in unmetered.scores]
    assert [s.loss for s in metered.scores] == [s.loss for s in unmetered.scores]


def test_a_card_that_is_not_there_fails_the_run_with_what_there_is(machine: Machine) -> None:
    machine.play()
    record = machine.run(settings=replace(SETTINGS, gpu="7"))
    assert (record.run.state, record.run.exit_code) == ("failed", 3)
    assert "GPU '7': no such card" in record.run.reason
    assert "GPU-5ca1ab1e" in record.run.reason


class TestClockLock:
    LOCKED = replace(SETTINGS, lock_clocks_mhz=1695)

    def test_it_is_held_for_the_run_and_undone(self, machine: Machine) -> None:
        machine.play()
        record = machine.run(settings=self.LOCKED)
        assert_finished(record, machine)
        assert phase(record, "train", "sst").usage.sm_clock_mhz == pytest.approx(1695)
        assert record.run.conditions["clock_lock"] == {
            "asked_mhz": 1695,
            "read_mhz": 1695,
            "held": True,
            "undone": True,
        }
        assert read_locks(machine.path) == {}
        calls = [(call.function, call.arguments) for call in read_calls(machine.path) if "Locked" in call.function]
        assert calls == [("nvmlDeviceSetGpuLockedClocks", (1695, 1695)), ("nvmlDeviceResetGpuLockedClocks", ())]

    @pytest.mark.soak
    def test_a_guard_that_answers_too_late_leaves_no_lock(self, machine: Machine) -> None:
        machine.play(clock_holds_mhz=1410)  # it looks for 2 s whether the clock settles, with the lock in place
        script = (
            "from peftbench.meters import clocks\n"
            "from peftbench.meters.nvml_library import card_of, open_nvml\n"
            "clocks.ANSWER_WITHIN_S = 1.9\n"
            "nvml, _ = open_nvml()\n"
            "clocks.ClockLock(nvml, card_of(nvml, '0'), 1695)\n"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert "MissingError" in done.stderr
        assert "did not answer" in done.stderr
        locked = [call.function for call in read_calls(machine.path) if "Locked" in call.function]
        assert locked[0] == "nvmlDeviceSetGpuLockedClocks", "the guard was to be late after it had locked"
        assert read_locks(machine.path) == {}

    @pytest.mark.parametrize("how", ["SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.soak)])
    def test_it_is_undone_however_the_run_ends(self, machine: Machine, how: str) -> None:
        import signal

        machine.play()

        def end(update: Update, launched: Launched) -> None:
            if trains(update):
                assert read_locks(machine.path) == {0: (1695, 1695)}
                os.kill(update.run.worker.pid, getattr(signal, how))

        record = machine.run(end, overrides=["train.epochs=5000"], settings=self.LOCKED)
        assert record.run.state in ("failed", "stopped")
        until = time.monotonic() + PATIENCE_S
        while read_locks(machine.path) and time.monotonic() < until:
            time.sleep(0.05)
        assert read_locks(machine.path) == {}

    def test_without_permission_nothing_runs_and_roots_command_is_told(self, machine: Machine) -> None:
        machine.play(lock_permission=False)
        record = machine.run(settings=self.LOCKED)
        assert (record.run.state, record.run.exit_code) == ("failed", 3)
        assert "root alone" in record.run.reason
        assert "nvidia-smi -i GPU-5ca1ab1e-0000-4000-8000-000000000000 -lgc 1695,1695" in record.run.reason

    @pytest.mark.soak
    def test_a_card_that_does_not_hold_what_it_was_told_is_flagged(self, machine: Machine) -> None:
        machine.play(clock_holds_mhz=1410)
        record = machine.run(settings=self.LOCKED)
        assert_finished(record, machine)
        lock = record.run.conditions["clock_lock"]
        assert (lock["read_mhz"], lock["held"], lock["undone"]) == (1410, False, True)
        assert "clocks_not_held" in names(record)

    def test_a_guard_that_was_killed_itself_leaves_no_lock(self, machine: Machine) -> None:
        import psutil

        machine.play()

        def kill_guard(update: Update, launched: Launched) -> None:
            if (
                update.progress is not None
                and update.progress.phase == "train"
                and liveness(update.run.worker) == "alive"
            ):
                for child in psutil.Process(update.run.worker.pid).children():
                    if child.status() != psutil.STATUS_ZOMBIE and "peftbench.meters.clock_guard" in child.cmdline():
                        child.kill()

        record = machine.run(kill_guard, settings=self.LOCKED)
        assert_finished(record, machine)
        assert record.run.conditions["clock_lock"]["undone"] is True
        assert read_locks(machine.path) == {}


def test_the_quickstart_fills_every_column_of_the_table(nvml_library: Path, tmp_path: Path) -> None:
    """The real command and encoder: energy within 2 % of the truth, and Table 2's columns in `show`."""
    path = tmp_path / "cards.scenario"
    scenario = two_cards(time.time()).with_card(
        1,
        processes=(Process("self", 814),),
        memory_used_mib=[(0, 20), (10, 834)],
        power_w=[(0.0, 30.0), (1.0, 70.0), (2.5, 50.0), (3.0, 30.0)],
        power_period_s=3.0,
    )
    scenario.write(path)
    db = tmp_path / "runs.db"
    env = {**os.environ, **environment(nvml_library, path), "PEFTBENCH_DB": str(db), "OMP_NUM_THREADS": "1"}
    peftbench = [sys.executable, "-m", "peftbench"]
    command = [
        *peftbench,
        "run",
        "--preset",
        "lora-r12",
        "--headless",
        "--meter-gpu",
        scenario.cards[1].uuid,
        "--idle",
        "2",
        *("--set", "train.epochs=1", "--set", "eval.train_examples=40"),
        *(word for task in TASKS for word in ("--set", f"tasks.{task}.source.dev=40")),
    ]
    subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    full = json.loads(subprocess.run([*peftbench, "show", "--json"], env=env, check=True, capture_output=True).stdout)
    spent, whole = full["cost"], next(p for p in full["phases"] if p["phase"] == "run")["usage"]
    start = whole["started_s"] - scenario.epoch
    truth = scenario.cards[1].energy_between_j(start, start + whole["window_s"])
    assert whole["energy_j"] == pytest.approx(truth, rel=0.02)
    assert whole["energy_integrated_j"] == pytest.approx(truth, rel=0.02)
    assert spent["run_wh"] == pytest.approx(truth / 3600, rel=0.02)
    for task in ("sst", "paraphrase", "sts"):
        rows = [p for p in full["phases"] if p["phase"] == "train" and p["task"] == task]
        true = sum(
            scenario.cards[1].energy_between_j(s, s + p["usage"]["window_s"])
            for p in rows
            for s in (p["usage"]["started_s"] - scenario.epoch,)
        )
        ticks = 2 * 0.1 * 70 * len(rows)  # the counter may be 0.1 s old at either end
        steps = sum(p["steps"] for p in rows)
        assert spent["j_per_step"][task] == pytest.approx(true / steps, abs=ticks / steps)
        assert spent["power_w"][task] == pytest.approx(50, rel=0.2)
    text = subprocess.run([*peftbench, "show"], env=env, check=True, capture_output=True, text=True).stdout
    assert spent["vram_mib"] == 814
    head = text.splitlines().index(next(line for line in text.splitlines() if "VRAM" in line))
    names_, row = text.splitlines()[head + 1].split(), text.splitlines()[head + 3].split()
    assert names_ == ["run", "MiB", "it/s", "W", "J/it", "ex.", "Wh", "idle"]
    assert len(row) == len(names_)
    assert "–" not in row
    assert "cpu_only" in text


def test_cards_of_this_file_are_the_ones_meant() -> None:
    assert isinstance(two_cards(0.0).cards[0], Card)
