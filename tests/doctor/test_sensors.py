"""Sensor checks on constructed samples, and the sampling on meters that replay a curve."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from peftbench.doctor import sensors
from peftbench.meters.readings import Capabilities, Missing, Reading, Sample
from peftbench.meters.sampler import Sampler
from peftbench.meters.window import Window
from tests.meters.fakes import sample, usage


def watched(power: Sequence[float | Missing], every_s: float = 0.1, **changed: object) -> sensors.Watched:
    samples = tuple(sample(place * every_s, power_w=value) for place, value in enumerate(power))
    return sensors.Watched(samples, samples, usage(**changed))  # type: ignore[arg-type]


def test_the_cadence_is_that_of_changes_not_of_readings() -> None:
    steps = [20.0 + place // 10 for place in range(200)]  # read every 10 ms, updated every 100 ms
    found = sensors.cadence("c", watched(steps, 0.01))
    assert (found.state, "every 100 ms (median of 18), read every 10.0 ms" in found.detail) == ("ok", True)


def test_a_slow_sensor_a_stuck_one_and_none() -> None:
    slow = sensors.cadence("c", watched([20.0 + place // 100 for place in range(400)], 0.01))
    assert (slow.state, "every 1000 ms" in slow.detail) == ("warn", True)
    assert sensors.cadence("c", watched([20.0] * 100, 0.01)).state == "warn"
    assert sensors.cadence("c", watched(["unsupported"] * 10)).state == "skip"
    assert sensors.cadence("c", watched(["no_permission"] * 10)).state == "warn"
    assert sensors.cadence("c", watched(["lost"] * 10)).state == "fail"


@pytest.mark.parametrize(
    ("changed", "state", "says"),
    [
        ({}, "ok", "1.0 % apart"),
        ({"energy_integrated_j": 1060.0}, "warn", "5.7 % apart, more than 5 %"),
        ({"energy_integrated_j": 900.0}, "warn", "11.1 % apart"),
        ({"counter_resets": 1}, "warn", "was reset 1 times during the window"),
        ({"energy_j": None, "missing": {"energy_j": "unsupported"}}, "skip", "the energy counter cannot be read"),
        ({"energy_j": None, "missing": {"energy_j": "lost"}}, "fail", "the energy counter cannot be read"),
        ({"energy_integrated_j": None, "missing": {"energy_integrated_j": "no_permission"}}, "warn", "sampled power"),
        ({"energy_j": None, "energy_integrated_j": None, "missing": {"energy_j": "short"}}, "skip", "too short"),
    ],
)
def test_the_counter_is_held_against_the_integral(changed: dict[str, object], state: str, says: str) -> None:
    found = sensors.counter("c", watched([100.0] * 100, **changed))
    assert (found.state, says in found.detail) == (state, True), found.detail


def test_a_meter_that_broke_its_word_is_a_failure_with_its_words() -> None:
    broken = sensors.Watched((), (), usage(), "Traceback\nKeyError: 'power'")
    assert sensors.idle("i", broken).detail == "its meter failed: KeyError: 'power'"
    assert sensors.cadence("i", broken).state == "fail"


def test_noise_at_rest() -> None:
    still = sensors.idle("i", watched([20.0, 21.0] * 50, temperature_start_c=35.0, temperature_end_c=36.0))
    assert (still.state, still.detail) == ("ok", "20 W ± 0.5 W over 10.0 s, 35 to 36 °C")
    assert sensors.idle("i", watched([20.0, 30.0] * 50)).state == "warn"
    assert sensors.idle("i", watched([200.0, 210.0] * 50)).state == "ok"  # 2.5 % of the mean
    company = sensors.idle("i", watched([20.0, 21.0] * 50, foreign_processes=1))
    assert (company.state, "other processes" in company.detail) == ("warn", True)


class Moments:
    """A clock that tells a sample's moment as its meter saw it, however long the two are apart on a busy machine."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def read(self) -> float:
        """Return the time, and tell the same to who asks next in this thread."""
        self._of_thread.now = time.monotonic()
        return self._of_thread.now

    def __call__(self) -> float:
        seen = getattr(self._of_thread, "now", None)
        self._of_thread.now = None
        return time.monotonic() if seen is None else seen


class Playing:
    """A meter that replays a curve of power and energy, in real time."""

    def __init__(self, clock: Moments, power_w: Callable[[float], float], counted: float = 1.0) -> None:
        self.clock, self.power_w, self.counted = clock, power_w, counted
        self.began = time.monotonic()
        self.closed = False

    def probe(self) -> Capabilities:
        return Capabilities("nvml", "ok", "", {"power_w": "ok", "energy_j": "ok"})

    def sample(self) -> Reading:
        at_s = self.clock.read() - self.began
        return Reading({"power_w": self.power_w(at_s), "energy_j": 50.0 * self.counted * at_s})

    def close(self) -> None:
        self.closed = True


def test_cards_are_watched_at_the_same_time_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Moments()
    monkeypatch.setattr(sensors, "Sampler", partial(Sampler, clock=clock))
    meters = {"a": Playing(clock, lambda at_s: 50.0), "b": Playing(clock, lambda at_s: 50.0, counted=1.2)}
    found = sensors.watch(meters, 0.01, 1.1)
    (a, _, _), (b, _, _) = found["a"], found["b"]
    assert max(a[0].at_s, b[0].at_s) < min(a[-1].at_s, b[-1].at_s), "one after the other"
    assert all(meter.closed for meter in meters.values())
    apart = {}
    for name, (samples, used, failure) in found.items():
        assert failure is None
        assert samples[0].at_s < samples[-1].at_s
        apart[name] = sensors.counter("c", sensors.Watched(samples, samples, used)).state
    assert apart == {"a": "ok", "b": "warn"}


def test_readings_after_the_window_are_not_in_it() -> None:
    samples = [Sample(at_s, {"power_w": 1.0}, {}) for at_s in (1.0, 2.0, 3.0)]
    window = Window(samples[0], 0.0)
    window.add(samples[1])
    assert sensors._until(samples, window.last) == samples[:2]
