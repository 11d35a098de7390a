"""torch's allocator and the waiting for a GPU, on a CUDA of the tests' own: no GPU is there to ask."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from peftbench.meters.phases import PhaseMeter
from peftbench.meters.sampler import Sampler
from peftbench.meters.thinning import Thinner
from peftbench.meters.torch_memory import TorchMemory
from tests.meters.fakes import Clock, FakeMeter

MIB = 2**20


class Cuda:
    """Books of an allocator, and what was asked of the device."""

    def __init__(self) -> None:
        self.allocated = self.peak = self.reserved = 0
        self.is_initialized = True
        self.asked: Counter[str] = Counter()

    def allocate(self, mib: int) -> None:
        self.allocated += mib * MIB
        self.reserved = max(self.reserved, self.allocated)
        self.peak = max(self.peak, self.allocated)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    books = Cuda()

    def reset(device: object) -> None:
        books.asked["reset"] += 1
        books.peak = books.allocated

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            self.at = 0.0

        def record(self) -> None:
            books.asked["event"] += 1

        def query(self) -> bool:
            return True

        def elapsed_time(self, end: Event) -> float:
            return 2.0

    def forbidden(*args: object) -> None:
        raise AssertionError("never inside a measured phase")

    for name, function in {
        "memory_stats": lambda device: {
            "allocated_bytes.all.current": books.allocated,
            "reserved_bytes.all.current": books.reserved,
        },
        "memory_reserved": lambda device: books.reserved,
        "max_memory_allocated": lambda device: books.peak,
        "max_memory_reserved": lambda device: books.reserved,
        "reset_peak_memory_stats": reset,
        "is_initialized": lambda: books.is_initialized,
        "synchronize": lambda device=None: books.asked.update(["synchronize"]),
        "empty_cache": forbidden,
        "Event": Event,
    }.items():
        monkeypatch.setattr(torch.cuda, name, function)
    return books


def measuring() -> PhaseMeter:
    clock, device = Clock(), torch.device("cuda")
    memory = TorchMemory(device)
    sampler = Sampler([FakeMeter(clock, lambda at_s: {"power_w": 100.0}), memory], 0.1, clock)
    whole = sampler.open()
    return PhaseMeter(device, sampler, memory, whole, Thinner(0.0, whole.energy_so_far_j))


def test_the_device_is_waited_for_at_the_ends_of_a_phase_and_at_no_step(cuda: Cuda) -> None:
    meter = measuring()
    cuda.allocate(400)
    with meter.phase("train", 1, "sst", "train") as measured:
        for _ in range(1000):
            with measured.steps:
                pass
    assert cuda.asked == {"synchronize": 2, "reset": 1, "event": 2000}
    assert measured.row.wall_s == pytest.approx(2.0)
    assert (measured.row.steps, measured.row.step_ms_median) == (1000, 2.0)


def test_peaks_are_of_the_phase_and_the_runs_is_the_highest(cuda: Cuda) -> None:
    meter = measuring()
    cuda.allocate(400)
    rows = []
    for grows in (800, 100):
        with meter.phase("train") as measured:
            cuda.allocate(grows)
            cuda.allocate(-grows)
        rows.append(measured.row.usage)
    assert [row.peak_allocated_mib for row in rows] == [1200, 500]
    assert [row.peak_reserved_mib for row in rows] == [1200, 1200]
    assert meter.whole_row().usage.peak_allocated_mib == 1200


def test_a_device_that_was_given_nothing_is_not_woken(cuda: Cuda) -> None:
    cuda.is_initialized = False
    with measuring().phase("idle"):
        pass
    assert not cuda.asked


def test_a_device_that_is_gone_is_lost(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(device: object) -> int:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.cuda, "memory_stats", gone)
    assert TorchMemory(torch.device("cuda")).sample().missing == {"allocated_mib": "lost", "reserved_mib": "lost"}


def test_the_cpu_keeps_no_books() -> None:
    memory = TorchMemory(torch.device("cpu"))
    assert memory.probe().status == "unsupported"
    assert memory.peaks_mib() == (None, None)
    assert set(memory.sample().missing.values()) == {"unsupported"}
