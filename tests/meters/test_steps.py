"""Steps on a GPU: timed by events that are read when they are over, with nothing waited for."""

from __future__ import annotations

import pytest
import torch

from peftbench.meters.steps import DRAIN_EVERY, CudaStepTimer, HostStepTimer, step_timer


class Stream:
    """A stream of the tests' own: an event is over once the stream has come past it."""

    def __init__(self) -> None:
        self.queued_ms = 0.0
        self.done_ms = 0.0
        self.waits = 0


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    stream = Stream()

    class Event:
        def __init__(self, enable_timing: bool = False) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at_ms = stream.queued_ms

        def query(self) -> bool:
            return self.at_ms <= stream.done_ms

        def elapsed_time(self, end: Event) -> float:
            assert end.query(), "an event was read before it was over"
            return end.at_ms - self.at_ms

        def synchronize(self) -> None:
            stream.waits += 1

    monkeypatch.setattr(torch.cuda, "Event", Event)
    return stream


def test_every_step_has_the_time_that_the_device_took_for_it(stream: Stream) -> None:
    steps = CudaStepTimer()
    for number in range(2 * DRAIN_EVERY + 10):
        with steps:
            stream.queued_ms += 3 + number % 2
        stream.queued_ms += 1  # something else, between steps
        if number % 100 == 99:
            stream.done_ms = stream.queued_ms / 2  # the device lags behind
    stream.done_ms = stream.queued_ms
    assert steps.seconds() == pytest.approx([(3 + n % 2) / 1e3 for n in range(2 * DRAIN_EVERY + 10)])
    assert stream.waits == 0


def test_events_do_not_pile_up(stream: Stream) -> None:
    steps = CudaStepTimer()
    for _ in range(5 * DRAIN_EVERY):
        with steps:
            stream.queued_ms += 1
        stream.done_ms = stream.queued_ms
    assert len(steps._open) < DRAIN_EVERY


def test_the_device_decides() -> None:
    assert isinstance(step_timer(torch.device("cpu")), HostStepTimer)
    assert isinstance(step_timer(torch.device("cuda")), CudaStepTimer)
