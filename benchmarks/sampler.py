"""Cost of the sampler: training with and without it in turn, and the time of one round of meter readings.

    python -m benchmarks.sampler [--rounds N] [--steps N] [--json FILE]

One model of the embedded encoder's shape (LoRA, batch 8) trains continuously; every round is a stretch of steps with
the sampler's thread at the given period, and one without, in random order. Aim: under 1 %.
With `--nvml LIBRARY SCENARIO` the meters also read the tests' simulated NVML library, through the real pynvml.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import random
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.throughput.columns import Setting, columns_of
from benchmarks.throughput.texts import random_texts
from peftbench.data.batches import Batcher
from peftbench.meters.host import HostMeter
from peftbench.meters.nvml import NvmlMeter
from peftbench.meters.nvml_library import card_of, open_nvml
from peftbench.meters.rapl import RaplMeter
from peftbench.meters.readings import Meter
from peftbench.meters.sampler import Sampler
from peftbench.meters.thinning import Thinner
from peftbench.meters.torch_memory import TorchMemory

AIM_PERCENT = 1.0
PERIODS_MS = (500, 100)


def meters() -> list[Meter]:
    """Return a run's meters, including the GPU's where NVML finds one."""
    nvml, _ = open_nvml()
    card: list[Meter] = [] if nvml is None else [NvmlMeter(nvml, card_of(nvml, "0"), computes_here=lambda: False)]
    return [*card, TorchMemory(torch.device("cpu")), HostMeter(), RaplMeter()]


def sampled(period_ms: int) -> Sampler:
    """Return a running sampler with a run's listeners: its overall window and the thinned rows."""
    sampler = Sampler(meters(), period_ms / 1e3)
    whole = sampler.open()
    sampler.listeners.append(Thinner(sampler.wall_offset_s, whole.energy_so_far_j))
    sampler.start()
    return sampler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--nvml", nargs=2, metavar=("LIBRARY", "SCENARIO"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.nvml:
        os.environ["PEFTBENCH_SIM_SCENARIO"] = arguments.nvml[1]
        ctypes.CDLL(arguments.nvml[0])  # once loaded, pynvml resolves the library's name to it
    column = next(column for column in columns_of("minilm") if column.name == "ours lora")
    stepper = column.build(Setting("minilm", 0.0))
    lengths = np.random.default_rng(0).integers(8, 48, 512)
    split, batcher = random_texts(lengths), Batcher(column.packed, 0, torch.device("cpu"))
    batches = [batcher(split, np.arange(at, at + 8)) for at in range(0, 512, 8)]

    def stretch() -> float:
        started = time.perf_counter()
        for step in range(arguments.steps):
            stepper.step(batches[step % len(batches)])
        return arguments.steps / (time.perf_counter() - started)

    stretch()
    figures = {f"{ms} ms": rounds(stretch, ms, arguments.rounds) for ms in PERIODS_MS}
    for name, found in figures.items():
        low, high = found["quartiles_percent"]
        print(
            f"{name:>7}: {found['cost_percent']:+.2f} % of training's throughput (quartiles {low:+.2f} to {high:+.2f}; "
            f"aim under {AIM_PERCENT:.0f} %); one round of questions {found['read_ms']:.2f} ms, "
            f"{found['duty_percent']:.3f} % of one core"
        )
    machine = (
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {os.cpu_count()} cores, {platform.machine()}"
    )
    print(f"{arguments.rounds} interleaved rounds of {arguments.steps} steps; {machine}; load {os.getloadavg()[0]:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "figures": figures}, indent=2))


def rounds(stretch: object, period_ms: int, count: int) -> dict[str, object]:
    """Return the sampler's cost from paired stretches, as the median of ratios: other load affects both of a pair."""
    losses, reads, duties = [], [], []
    for _ in range(count):
        its = {}
        for on in random.sample((True, False), 2):
            sampler = sampled(period_ms) if on else None
            its[on] = stretch()  # type: ignore[operator]
            if sampler is not None:
                cadence = sampler.cadence()
                sampler.stop()
                reads.append(cadence.read_ms)
                duties.append(100 * cadence.read_ms / period_ms)
        losses.append(100 * (its[False] / its[True] - 1))
    quartiles = statistics.quantiles(losses, n=4)
    return {
        "cost_percent": statistics.median(losses),
        "quartiles_percent": (quartiles[0], quartiles[2]),
        "read_ms": statistics.median(reads),
        "duty_percent": statistics.median(duties),
    }


if __name__ == "__main__":
    main()
