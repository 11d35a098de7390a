"""Windows: joules, means, peaks and reasons from samples whose truth is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench.meters.window import Base, Window
from peftbench.store.rows import Usage
from tests.meters.fakes import sample


def summed(*samples: object, base: float | None = None, lowest: float = 1e9) -> Usage:
    window = Window(samples[0], 0.0, Base(base, lowest))  # type: ignore[arg-type]
    for each in samples[1:]:
        window.add(each)  # type: ignore[arg-type]
    return window.usage()


def test_constant_power_gives_its_joules_by_both_ways() -> None:
    found = summed(*(sample(t, power_w=100.0, energy_j=5000 + 100 * t) for t in (0.0, 0.7, 2.0, 4.0)))
    assert found.energy_j == pytest.approx(400)
    assert found.energy_integrated_j == pytest.approx(400)
    assert (found.power_w, found.power_peak_w, found.window_s, found.samples) == (100, 100, 4.0, 4)


def test_a_ramp_is_integrated_by_trapezoids_whatever_the_spacing() -> None:
    found = summed(*(sample(t, power_w=60 + 24 * t) for t in (0.0, 0.1, 3.0, 3.5, 10.0)))
    assert found.energy_integrated_j == pytest.approx(600 + 12 * 100)
    assert found.power_w == pytest.approx(180)
    assert found.power_peak_w == 300


@given(
    st.lists(st.floats(0.01, 5), min_size=2, max_size=30).flatmap(
        lambda gaps: st.tuples(
            st.just(gaps), st.lists(st.floats(0, 700), min_size=len(gaps) + 1, max_size=len(gaps) + 1)
        )
    )
)
def test_two_windows_in_a_row_have_the_joules_of_one(data: tuple[list[float], list[float]]) -> None:
    gaps, watts = data
    times = [sum(gaps[:n]) + 10 for n in range(len(gaps) + 1)]
    samples = [sample(t, power_w=w) for t, w in zip(times, watts, strict=True)]
    cut = len(samples) // 2
    parts = [summed(*some) for some in (samples[: cut + 1], samples[cut:])]
    if all(part.window_s >= 1 for part in parts):
        whole = summed(*samples)
        assert whole.energy_integrated_j == pytest.approx(sum(part.energy_integrated_j or 0 for part in parts))


def test_a_window_of_less_than_a_second_has_no_energy_but_has_power() -> None:
    found = summed(*(sample(t, power_w=100.0, energy_j=100 * t) for t in (0.0, 0.5, 0.99)))
    assert (found.energy_j, found.energy_integrated_j) == (None, None)
    assert found.missing["energy_j"] == found.missing["energy_integrated_j"] == "short"
    assert found.power_w == pytest.approx(100)


def test_a_short_window_of_a_card_without_a_counter_says_unsupported() -> None:
    assert summed(sample(0.0), sample(0.5)).missing["energy_j"] == "unsupported"


def test_what_no_meter_reads_is_none_with_its_reason_and_never_zero() -> None:
    found = summed(sample(0.0, why="no_driver"), sample(2.0, why="no_driver"))
    for name in ("energy_j", "power_w", "device_peak_mib", "temperature_start_c", "event_reasons", "throttled_s"):
        assert getattr(found, name) is None
        assert found.missing[name] == "no_driver"


def test_a_reset_counter_is_filled_by_the_power_of_that_moment() -> None:
    counts = [(0.0, 900.0), (1.0, 1000.0), (2.0, 30.0), (3.0, 130.0)]
    found = summed(*(sample(t, power_w=100.0, energy_j=joules) for t, joules in counts))
    assert found.energy_j == pytest.approx(300)
    assert found.counter_resets == 1


def test_a_counter_reset_in_a_gap_of_its_own_is_filled_by_the_power_of_the_whole_gap() -> None:
    counts: list[float | None] = [1000.0, 1100.0, None, None, None, 40.0, 140.0]
    samples = [
        sample(float(t), power_w=100.0, **({} if joules is None else {"energy_j": joules}))
        for t, joules in enumerate(counts)
    ]
    assert summed(*samples).energy_j == pytest.approx(600)


def test_a_counter_that_does_not_move_while_power_is_drawn_is_stuck_and_no_zero() -> None:
    stuck = [sample(float(t), power_w=200.0, energy_j=77.0) for t in range(101)]
    found = summed(*stuck)
    assert (found.energy_j, found.missing["energy_j"]) == (None, "stuck")
    assert found.energy_integrated_j == pytest.approx(20_000)
    asleep = summed(*(sample(float(t), power_w=0.0, energy_j=77.0) for t in range(5)))
    assert asleep.energy_j == 0


def test_memory_below_what_was_used_before_the_run_makes_the_growth_unknown() -> None:
    samples = [sample(float(t), device_used_mib=1400.0) for t in range(3)]
    assert summed(*samples, base=900.0, lowest=899.5).device_delta_mib == 500
    found = summed(*samples, base=3000.0, lowest=1300.0)
    assert (found.device_delta_mib, found.missing["device_delta_mib"]) == (None, "shared")
    assert found.device_peak_mib == 1400


def test_a_reset_counter_without_power_has_no_figure() -> None:
    found = summed(*(sample(t, energy_j=joules) for t, joules in [(0.0, 900.0), (1.0, 10.0), (2.0, 110.0)]))
    assert found.energy_j is None
    assert found.missing["energy_j"] == "lost"


def test_a_card_lost_half_way_has_no_energy_and_keeps_what_it_was_seen_to_use() -> None:
    alive = [
        sample(t, power_w=100.0, energy_j=100 * t, device_used_mib=500 + t, temperature_c=40 + t)
        for t in (0.0, 1.0, 2.0)
    ]
    found = summed(*alive, *(sample(t, why="lost") for t in (3.0, 4.0, 5.0)), base=400.0)
    for name in ("energy_j", "energy_integrated_j", "power_w"):
        assert getattr(found, name) is None
        assert found.missing[name] == "lost"
    assert (found.device_peak_mib, found.device_delta_mib) == (502, 102)
    assert (found.temperature_start_c, found.temperature_end_c) == (40, 42)


def test_a_gap_of_a_moment_is_bridged() -> None:
    found = summed(
        sample(0.0, power_w=100.0, energy_j=0.0),
        sample(1.0, power_w=100.0, energy_j=100.0),
        sample(1.5, why="lost"),
        sample(1.9, power_w=100.0, energy_j=190.0),
        sample(2.0, power_w=100.0, energy_j=200.0),
    )
    assert found.energy_j == pytest.approx(200)
    assert found.energy_integrated_j == pytest.approx(200)


def test_a_gap_that_is_too_long_is_not() -> None:
    found = summed(
        sample(0.0, power_w=100.0, energy_j=0.0),
        sample(1.0, why="lost"),
        sample(3.0, power_w=100.0, energy_j=300.0),
    )
    assert found.energy_integrated_j is None
    assert found.missing["energy_integrated_j"] == "lost"
    assert found.energy_j == pytest.approx(300)  # the counter counted on


def test_late_samples_are_no_gap() -> None:
    found = summed(sample(0.0, power_w=100.0), sample(30.0, power_w=200.0))
    assert found.energy_integrated_j == pytest.approx(4500)


def test_a_counter_unreadable_at_the_start_has_no_figure() -> None:
    found = summed(sample(0.0, energy_j="no_permission"), sample(1.0, energy_j=5.0), sample(2.0, energy_j=105.0))
    assert (found.energy_j, found.missing["energy_j"]) == (None, "no_permission")


def test_throttling_has_its_reasons_and_seconds() -> None:
    bits = [(0.0, 0x0), (1.0, 0x4), (2.0, 0x24), (3.0, 0x40), (4.0, 0x0)]
    found = summed(*(sample(t, event_reasons=float(bit)) for t, bit in bits))
    assert found.event_reasons == 0x64
    assert found.throttled_s == pytest.approx(2.0)


def test_others_on_the_machine_and_on_the_card_are_counted() -> None:
    found = summed(
        sample(0.0, cpu_s=10.0, machine_cpu_s=100.0, foreign_processes=0.0, swap_mib=0.0),
        sample(2.0, cpu_s=12.0, machine_cpu_s=103.0, foreign_processes=2.0, swap_mib=7.0),
        sample(4.0, cpu_s=14.0, machine_cpu_s=106.0, foreign_processes=1.0, swap_mib=5.0),
    )
    assert (found.cpu_s, found.others_cpu_s) == (4.0, 2.0)
    assert (found.foreign_processes, found.swap_mib) == (2, 7.0)


def test_the_energy_until_now_prefers_the_counter() -> None:
    window = Window(sample(0.0, power_w=100.0, energy_j=50.0), 0.0)
    window.add(sample(2.0, power_w=100.0, energy_j=260.0))
    assert window.energy_so_far_j() == pytest.approx(210)
    without = Window(sample(0.0, power_w=100.0), 0.0)
    without.add(sample(2.0, power_w=100.0))
    assert without.energy_so_far_j() == pytest.approx(200)
    assert Window(sample(0.0), 0.0).energy_so_far_j() == "unsupported"
    denied = Window(sample(0.0, power_w=100.0, energy_j="no_permission"), 0.0)
    denied.add(sample(2.0, power_w=100.0, energy_j="no_permission"))
    assert denied.energy_so_far_j() == pytest.approx(200)
