"""How fast training goes: its steps timed, and where it stands told now and then."""

from __future__ import annotations

import math
import time

import numpy as np
import torch

from peftbench.meters.host import peak_rss_mib, reset_peak_rss
from peftbench.store.rows import Phase, Progress, now
from peftbench.training.recorder import Recorder

PROGRESS_EVERY_S = 0.25


class StepClock:
    """Times optimiser steps of one phase; what happens between them (making batches) is not counted.

    On a GPU steps are queued, so only the whole phase has a time, synchronised at its end.
    """

    def __init__(self, device: torch.device, phase: str, epoch: int, task: str) -> None:
        self.on_gpu = device.type == "cuda"
        self.names = (phase, epoch, task)
        self.step_s: list[float] = []
        self.examples = self.tokens = 0
        reset_peak_rss()
        self._phase_started = time.perf_counter()

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.step_s.append(time.perf_counter() - self._started)

    def count(self, examples: int, tokens: int) -> None:
        """Take what the last step saw."""
        self.examples += examples
        self.tokens += tokens

    def phase(self) -> Phase:
        """Return what was measured so far."""
        if self.on_gpu:
            torch.cuda.synchronize()
        wall_s = time.perf_counter() - self._phase_started if self.on_gpu else sum(self.step_s)
        spread = [None] * 3 if self.on_gpu else [float(x) for x in np.percentile(self.step_s, (50, 5, 95)) * 1e3]
        phase, epoch, task = self.names
        return Phase(
            phase,
            epoch,
            task,
            "train",
            wall_s=wall_s,
            steps=len(self.step_s),
            examples=self.examples,
            tokens=self.tokens,
            step_ms_median=spread[0],
            step_ms_p5=spread[1],
            step_ms_p95=spread[2],
            peak_rss_mib=peak_rss_mib(),
        )


class ProgressTeller:
    """Tells a recorder where the run stands, a few times a second at most."""

    def __init__(self, recorder: Recorder, total: int) -> None:
        self.recorder, self.total = recorder, total
        self._told_at = -math.inf
        self._rate_from: tuple[str, float, int] | None = None

    def tell(self, phase: str, epoch: int, task: str, step: int, steps: int, done: int) -> None:
        """Take where it stands: `step` of `steps` in this phase, `done` steps of the run; tell it if it is time."""
        moment = time.monotonic()
        if self._rate_from is None or self._rate_from[0] != f"{phase} {task}" or step <= self._rate_from[2]:
            self._rate_from = (f"{phase} {task}", moment, step)
        if moment - self._told_at < PROGRESS_EVERY_S and step < steps:
            return
        self._told_at = moment
        _, since, first = self._rate_from
        its = (step - first) / (moment - since) if phase == "train" and moment > since else None
        self.recorder.progress(Progress(epoch, phase, task, step, steps, done, self.total, its, now()))
