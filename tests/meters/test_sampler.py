"""The sampler, its windows, phases and thinned rows, on meters and a clock of the tests' own."""

from __future__ import annotations

import itertools
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from peftbench.meters import steps
from peftbench.meters.phases import PhaseMeter
from peftbench.meters.sampler import Sampler
from peftbench.meters.thinning import Thinner
from peftbench.meters.torch_memory import TorchMemory
from tests.meters.fakes import Clock, FakeMeter
from tests.patience import PATIENCE_S


def card(at_s: float) -> dict[str, float]:
    return {"power_w": 50 + (at_s - 100), "energy_j": 1e6 + 100 * at_s, "device_used_mib": 300 + at_s}


def measuring(clock: Clock, read: object = card) -> tuple[Sampler, PhaseMeter, Thinner]:
    sampler = Sampler([FakeMeter(clock, read)], 0.1, clock)  # type: ignore[arg-type]
    whole = sampler.open()
    thinner = Thinner(sampler.wall_offset_s, whole.energy_so_far_j)
    sampler.listeners.append(thinner)
    cpu = torch.device("cpu")
    return sampler, PhaseMeter(cpu, sampler, TorchMemory(cpu), whole, thinner), thinner


def test_a_phase_is_measured_from_its_start_to_its_end() -> None:
    clock = Clock()
    sampler, meter, _ = measuring(clock)
    with meter.phase("train", 2, "sst", "train") as measured:
        for _ in range(4):
            clock.now += 0.5
            sampler.take()
        measured.count(8, 100)
        measured.count(8, 90)
    row = measured.row
    assert (row.phase, row.epoch, row.task, row.split) == ("train", 2, "sst", "train")
    assert (row.examples, row.tokens, row.steps) == (16, 190, None)
    assert row.wall_s == row.usage.window_s == pytest.approx(2.0)
    assert row.usage.energy_j == pytest.approx(200)
    assert row.usage.power_w == pytest.approx(51)
    assert row.usage.samples == 6  # four, and one at either end
    assert row.usage.energy_so_far_j == pytest.approx(200)
    assert row.peak_rss_mib > 10


def test_steps_are_timed_apart_from_what_is_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(steps, "time", SimpleNamespace(perf_counter=clock))
    _, meter, _ = measuring(clock)
    with meter.phase("train", 1, "sst", "train") as measured:
        for _ in range(5):
            clock.now += 1
            with measured.steps:
                clock.now += 0.25
    row = measured.row
    assert row.steps == 5
    assert row.usage.window_s == pytest.approx(6.25)
    assert row.wall_s == pytest.approx(1.25)
    assert row.step_ms_p5 == row.step_ms_median == row.step_ms_p95 == pytest.approx(250)


def test_the_whole_run_has_one_window_over_all_its_phases() -> None:
    clock = Clock()
    _, meter, _ = measuring(clock)
    for name in ("load", "train"):
        clock.now += 1
        with meter.phase(name):
            clock.now += 2
    row = meter.whole_row()
    assert (row.phase, row.wall_s) == ("run", pytest.approx(6))
    assert row.usage.energy_j == pytest.approx(600)
    assert row.usage.missing["peak_allocated_mib"] == "unsupported"


def test_a_phase_that_is_left_by_an_error_is_forgotten() -> None:
    clock = Clock()
    sampler, meter, _ = measuring(clock)
    with pytest.raises(ZeroDivisionError), meter.phase("train"):
        1 / 0  # noqa: B018
    assert len(sampler._windows) == 1  # the run's
    with meter.phase("eval") as measured:
        clock.now += 3
    assert measured.row.usage.window_s == pytest.approx(3)


def test_samples_are_thinned_to_a_row_a_second_with_the_peak_of_power() -> None:
    clock = Clock()
    sampler, meter, thinner = measuring(clock, lambda at_s: card(at_s) | {"cpu_s": at_s, "machine_cpu_s": 1.5 * at_s})
    with meter.phase("train"):
        for _ in range(45):
            clock.now += 0.1
            sampler.take()
    rows = thinner.drain()
    assert [row.sequence for row in rows] == [1, 2, 3, 4]
    assert {row.phase for row in rows} == {"train"}
    gaps = [b.at_s - a.at_s for a, b in itertools.pairwise(rows)]
    assert gaps == pytest.approx([1.0] * 3, abs=0.11)
    assert all(row.power_w < row.power_peak_w for row in rows)
    assert rows[-1].energy_j == pytest.approx(400, abs=25)
    assert rows[-1].cpu_pct == pytest.approx(100)
    assert rows[-1].others_cpu_pct == pytest.approx(50)
    assert rows[0].at_s == pytest.approx(time.time(), abs=60)
    assert thinner.drain() == []
    thinner.flush()
    assert len(thinner.drain()) == 1


def test_a_meter_that_breaks_its_word_ends_nothing_and_is_told() -> None:
    clock = Clock()
    broken = False

    def read(at_s: float) -> dict[str, float]:
        if broken:
            raise RuntimeError("a defect")
        return card(at_s)

    sampler, meter, _ = measuring(clock, read)
    with meter.phase("train") as measured:
        clock.now += 2
        sampler.take()
        broken = True
        clock.now += 2
        sampler.take()
    assert measured.row.usage.energy_j is None
    assert measured.row.usage.missing["energy_j"] == "lost"
    assert "a defect" in sampler.cadence().failure


class WaitsByTheClock:
    """An end that waits by moving a clock; it has come after so many waits."""

    def __init__(self, clock: Clock, waits: int) -> None:
        self.clock, self.left = clock, waits

    def wait(self, seconds: float) -> bool:
        self.clock.now += seconds
        self.left -= 1
        return self.left < 0


def test_the_cadence_is_that_of_the_clock() -> None:
    clock = Clock()
    sampler = Sampler([FakeMeter(clock, card)], 0.01, clock)
    sampler._end = WaitsByTheClock(clock, 30)  # type: ignore[assignment]
    sampler._sample_on()
    cadence = sampler.cadence()
    assert cadence.samples == 30
    assert (cadence.period_ms, cadence.median_ms, cadence.p95_ms) == pytest.approx((10, 10, 10))


def test_the_thread_samples_and_ends() -> None:
    clock = Clock()
    sampler = Sampler([meter := FakeMeter(clock, card)], 0.01)
    window = sampler.open()
    enough = threading.Event()
    sampler.listeners.append(lambda _: enough.set() if sampler.samples >= 30 else None)
    sampler.start()
    assert enough.wait(PATIENCE_S)
    sampler.close(window)
    thread = sampler._thread
    sampler.stop()
    cadence = sampler.cadence()
    assert cadence.samples == window.samples >= 30
    assert cadence.failure is None
    assert meter.closed
    assert thread is not None
    assert not thread.is_alive()
