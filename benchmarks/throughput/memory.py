"""Memory of a column: saved for backward, and at the peak of a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.throughput.columns import Setting, Stepper, columns_of
from benchmarks.throughput.texts import random_texts
from peftbench.data.batches import Batch, Batcher
from peftbench.memory.storages import SavedBytes
from peftbench.meters.host import peak_rss_mib

ROOT = Path(__file__).parents[2]
MIB = 2**20


def saved_mib(stepper: Stepper, batch: Batch) -> float:
    """Return the memory that a training forward pass saves for backward, in MiB."""
    stepper.model.train()
    with SavedBytes([*stepper.model.parameters(), *stepper.model.buffers()]) as saved:
        loss = stepper.loss(batch)  # its graph keeps all storages alive, so that no address is reused and counted twice
    del loss
    return saved.total / MIB


def peak_rss(column: str, setting: Setting, lengths: np.ndarray) -> float | None:
    """Return the peak memory of a process that trains one column on a batch of the given lengths, in MiB."""
    asked = {"column": column, "shape": setting.shape, "dropout": setting.dropout, "lengths": lengths.tolist()}
    command = [sys.executable, "-m", "benchmarks.throughput", "--rss"]
    found = subprocess.run(command, input=json.dumps(asked), check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    peak: float | None = json.loads(found.stdout.splitlines()[-1])
    return peak


def print_own_peak_rss() -> None:
    """Run as that process: read the request from standard input, print the result."""
    asked = json.loads(sys.stdin.read())
    column = next(column for column in columns_of(asked["shape"]) if column.name == asked["column"])
    stepper = column.build(Setting(asked["shape"], asked["dropout"]))
    split = random_texts(asked["lengths"])
    batcher = Batcher(column.packed, 0, torch.device("cpu"))
    rows = np.arange(len(split))
    for part in (rows[:8], rows):  # the first step creates the optimiser's state
        stepper.step(batcher(split, part))
    print(json.dumps(peak_rss_mib()))
