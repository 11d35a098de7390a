"""Phases: named stretches of a run, each measured from a sample at its start to one at its end.

A GPU is waited for at the ends of a phase only, never at a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from peftbench.meters.host import peak_rss_mib, reset_peak_rss
from peftbench.meters.sampler import Sampler
from peftbench.meters.steps import StepTimer, step_timer
from peftbench.meters.thinning import Thinner
from peftbench.meters.torch_memory import TorchMemory
from peftbench.meters.window import Window
from peftbench.store.rows import Phase, Usage


class OpenPhase:
    """A phase that is going on. Steps are timed in `with phase.steps:`; `row` is there once it has ended."""

    row: Phase

    def __init__(self, name: str, epoch: int | None, task: str | None, split: str | None, steps: StepTimer) -> None:
        self.name, self.epoch, self.task, self.split = name, epoch, task, split
        self.steps = steps
        self.examples: int | None = None
        self.tokens: int | None = None

    def count(self, examples: int, tokens: int) -> None:
        """Take what was computed: examples, and their tokens without padding."""
        self.examples = (self.examples or 0) + examples
        self.tokens = (self.tokens or 0) + tokens

    def end(self, usage: Usage, peak_rss: float | None) -> None:
        """Make the row; `peak_rss` is of resident memory, in MiB.

        Where steps were timed, `wall_s` is theirs alone: making batches is not in it.
        """
        step_s = self.steps.seconds()
        spread = [float(x) for x in np.percentile(step_s, (50, 5, 95)) * 1e3] if step_s else [None] * 3
        self.row = Phase(
            self.name,
            self.epoch,
            self.task,
            self.split,
            wall_s=sum(step_s) if step_s else usage.window_s,
            steps=len(step_s) or None,
            examples=self.examples,
            tokens=self.tokens,
            step_ms_median=spread[0],
            step_ms_p5=spread[1],
            step_ms_p95=spread[2],
            peak_rss_mib=peak_rss,
            usage=usage,
        )


class PhaseMeter:
    """Measures phases of one run.

    Args:
        device: where the run computes.
        sampler: asks the meters.
        memory: of torch, on the device.
        run_window: the window over the whole run.
        thinner: is told which phase it is.
    """

    def __init__(
        self, device: torch.device, sampler: Sampler, memory: TorchMemory, run_window: Window, thinner: Thinner
    ) -> None:
        self.device, self.sampler, self.memory = device, sampler, memory
        self.run_window, self.thinner = run_window, thinner
        self.energy_before_j: float | None = 0.0  # of the run's earlier processes; None where it is not known
        self._peaks: dict[str, float] = {}

    def energy_so_far_j(self) -> float | str:
        """Return the run's joules until now, those of its earlier processes included, or why they are not known."""
        ours = self.run_window.energy_so_far_j()
        if isinstance(ours, str):
            return ours
        return "lost" if self.energy_before_j is None else self.energy_before_j + ours

    @contextmanager
    def phase(
        self, name: str, epoch: int | None = None, task: str | None = None, split: str | None = None
    ) -> Iterator[OpenPhase]:
        """Measure what is done inside. Phases follow one another; one inside another is an error of the caller."""
        self.memory.synchronise()
        new_peak = reset_peak_rss()
        self.memory.reset_peaks()
        opened = OpenPhase(name, epoch, task, split, step_timer(self.device))
        window = self.sampler.open()
        self.thinner.phase = name
        try:
            yield opened
            self.memory.synchronise()
            self.sampler.close(window)
        finally:
            self.sampler.drop(window)
            self.thinner.phase = None
        rss = peak_rss_mib()
        self._keep_peak("peak_rss_mib", rss)
        opened.end(self._complete(window), rss if new_peak else None)

    def whole_row(self) -> Phase:
        """Return the phase `run`: everything in one window, with the peaks of all phases."""
        self.sampler.close(self.run_window)
        usage = self._complete(self.run_window)
        allocated, reserved = self._peaks.get("peak_allocated_mib"), self._peaks.get("peak_reserved_mib")
        if allocated is not None:
            usage = replace(usage, peak_allocated_mib=allocated, peak_reserved_mib=reserved)
        rss = max(
            (peak for peak in (self._peaks.get("peak_rss_mib"), peak_rss_mib()) if peak is not None), default=None
        )
        return Phase("run", None, None, None, wall_s=usage.window_s, peak_rss_mib=rss, usage=usage)

    def _complete(self, window: Window) -> Usage:
        """Add what is no sum of samples: torch's peaks, and the run's energy until now."""
        usage = window.usage()
        allocated, reserved = self.memory.peaks_mib()
        missing = dict(usage.missing)
        if allocated is None:
            missing |= {"peak_allocated_mib": "unsupported", "peak_reserved_mib": "unsupported"}
        so_far = self.energy_so_far_j()
        if isinstance(so_far, str):
            missing["energy_so_far_j"] = so_far
        self._keep_peak("peak_allocated_mib", allocated)
        self._keep_peak("peak_reserved_mib", reserved)
        return replace(
            usage,
            peak_allocated_mib=allocated,
            peak_reserved_mib=reserved,
            energy_so_far_j=so_far if isinstance(so_far, float) else None,
            missing=missing,
        )

    def _keep_peak(self, name: str, value: float | None) -> None:
        if value is not None:
            self._peaks[name] = max(value, self._peaks.get(name, value))
