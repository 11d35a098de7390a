"""Power and energy of the simulated library: exact to the digit where time stands still."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pynvml
import pytest

from tests.sim.machine import STILL, Machine
from tests.sim.scenario import two_cards

FIRST = STILL.cards[0]


@pytest.mark.parametrize("still_at_s", [0.0, 0.05, 0.71, 1.6, 2.0, 3.999, 12.34, 86_400.55])
def test_power_and_energy_of_a_saw_tooth(machine: Machine, still_at_s: float) -> None:
    card, other = STILL.cards
    asked = machine.play(replace(STILL, still_at_s=still_at_s)).ask(
        "n.nvmlDeviceGetPowerUsage(card), n.nvmlDeviceGetTotalEnergyConsumption(card)",
        "*fields(card, n.NVML_FI_DEV_POWER_INSTANT, n.NVML_FI_DEV_POWER_AVERAGE)",
        "*fields(card, n.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION)",
        "n.nvmlDeviceGetPowerUsage(n.nvmlDeviceGetHandleByIndex(1))",
    )
    energy = card.energy_counter_mj(still_at_s)
    average = card.average_power_mw(still_at_s)
    assert asked == [average, energy, card.instant_power_mw(still_at_s), average, energy, 30_000]
    assert energy - 123_456_789 == pytest.approx(1000 * card.energy_between_j(0, still_at_s), abs=30_001)
    assert not other.shows_mean


@pytest.mark.slow
def test_the_integral_is_that_of_a_fine_sum() -> None:
    card = replace(FIRST, power_w=((0.5, 10.0), (1.0, 50.0), (1.0, 20.0), (1.25, 80.0)), power_period_s=1.5)
    for t0, t1 in ((0.0, 1.5), (0.2, 1.1), (0.7, 9.3), (-0.5, 0.25)):
        n = 100_000
        middle = (t0 + (t1 - t0) * (k + 0.5) / n for k in range(n))
        assert card.energy_between_j(t0, t1) == pytest.approx(sum(map(card.power_at, middle)) * (t1 - t0) / n, rel=1e-4)
    assert card.energy_between_j(0, 1.5) == pytest.approx(0.5 * 10 + 0.5 * 30 + 0.25 * 50 + 0.25 * 80)


def test_a_mean_over_one_second_lags_and_older_cards_have_none(machine: Machine) -> None:
    jump = ((0.0, 100.0), (10.0, 100.0), (10.0, 200.0))
    ask = "[n.nvmlDeviceGetPowerUsage(card), *fields(card, n.NVML_FI_DEV_POWER_INSTANT, n.NVML_FI_DEV_POWER_AVERAGE)]"
    scenario = replace(STILL.with_card(0, power_w=jump, power_period_s=None), still_at_s=10.30001)
    assert machine.play(scenario).ask(ask) == [[130_000, 200_000, 130_000]]
    old = scenario.with_card(0, architecture="turing")
    assert machine.play(old).ask(ask) == [[200_000, 200_000, -pynvml.NVML_ERROR_NOT_SUPPORTED]]
    assert machine.play(scenario.with_card(0, averaged_power=False)).ask(ask)[0][0] == 200_000


def test_power_of_another_scope_is_not_there(machine: Machine) -> None:
    ids = "(n.NVML_FI_DEV_POWER_INSTANT, 0), (n.NVML_FI_DEV_POWER_INSTANT, 1)"
    assert machine.play(STILL).ask(f"fields(card, {ids})") == [[FIRST.instant_power_mw(12.34), -3]]


def test_the_counter_follows_the_clock_within_a_tick(machine: Machine) -> None:
    scenario = two_cards(time.time() - 3)
    card = scenario.cards[0]
    script = """
pairs = []
for _ in range(8):
    before = time.time()
    shown = n.nvmlDeviceGetTotalEnergyConsumption(card)
    pairs.append((before, shown, time.time()))
    time.sleep(0.04)
print(json.dumps(pairs))
"""
    pairs = json.loads(machine.play(scenario).run(script).stdout)
    for before, shown, after in pairs:
        low = card.energy_between_j(0, before - scenario.epoch - card.energy_tick_s)
        high = card.energy_between_j(0, after - scenario.epoch)
        assert 1000 * low - 1 <= shown - 123_456_789 <= 1000 * high + 1
    assert len({shown for _, shown, _ in pairs}) > 1


@pytest.mark.slow
def test_the_counter_wraps_and_starts_again(machine: Machine) -> None:
    steady = STILL.with_card(0, power_w=100, power_period_s=None, energy_start_mj=900_000)
    energy = "n.nvmlDeviceGetTotalEnergyConsumption(card)"
    true = 900_000 + 1_230_000
    assert machine.play(steady).ask(energy) == [true]
    assert machine.play(steady.with_card(0, energy_wrap_mj=1_000_000)).ask(energy) == [true - 2_000_000]
    assert machine.play(steady.with_card(0, energy_reset_at_s=12.0)).ask(energy) == [30_000]
    assert machine.play(steady.with_card(0, energy_reset_at_s=12.31)).ask(energy) == [0]
    assert machine.play(steady.with_card(0, energy_reset_at_s=12.35)).ask(energy) == [true]
    assert machine.play(steady.with_card(0, energy_start_mj=None)).ask(f"tried({energy[:-6]}, card)") == [
        "NotSupported"
    ]


def test_before_the_epoch_it_is_the_beginning(machine: Machine) -> None:
    machine.play(two_cards(time.time() + 1000))
    energy, power = machine.ask("n.nvmlDeviceGetTotalEnergyConsumption(card), n.nvmlDeviceGetPowerUsage(card)")
    assert (energy, power) == (123_456_789, 60_000)
