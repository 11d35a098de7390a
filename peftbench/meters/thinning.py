"""Samples thinned to one row a second, for a screen. The sums are made from all of them, elsewhere."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any

from peftbench.meters.readings import Sample
from peftbench.store.meter_fields import Aggregation, SampleRow, meter_fields

ROW_EVERY_S = 1.0
_EARLY_S = 0.05  # a sample that comes a moment before the second is full closes it

_OF_A_SECOND: dict[Aggregation, Callable[[list[float]], float]] = {
    "mean": lambda values: sum(values) / len(values),
    "max": max,
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
    "bits": lambda values: reduce(or_, map(int, values)),
}


class Thinner:
    """Gathers samples into rows of its `kind`; a sampler's listener.

    Args:
        wall_offset_s: Unix time less the samples' clock.
        energy_so_far_j: the run's joules until now, or why they are not known.
    """

    kind: type[SampleRow] = SampleRow

    def __init__(self, wall_offset_s: float, energy_so_far_j: Callable[[], float | str]) -> None:
        self.wall_offset_s, self.energy_so_far_j = wall_offset_s, energy_so_far_j
        self.phase: str | None = None
        self._phases: Counter[str | None] = Counter()  # of the samples gathered
        self._rows: list[SampleRow] = []
        self._lock = threading.Lock()
        self._gathered: list[Sample] = []
        self._before: Sample | None = None
        self._sequence = 0

    def __call__(self, sample: Sample) -> None:
        """Take a sample; where a second is full, make its row."""
        if self._before is None:
            self._before = sample
        self._gathered.append(sample)
        self._phases[self.phase] += 1
        if sample.at_s - self._before.at_s >= ROW_EVERY_S - _EARLY_S:
            self.flush()

    def flush(self) -> None:
        """Make a row of what was gathered since the last."""
        if not self._gathered or self._before is None:
            return
        row = self._row(self._before, self._gathered)
        self._before, self._gathered = self._gathered[-1], []
        self._phases.clear()
        with self._lock:
            self._rows.append(row)

    def drain(self) -> list[SampleRow]:
        """Take the rows that are ready; from any thread."""
        with self._lock:
            rows, self._rows = self._rows, []
        return rows

    def _row(self, before: Sample, samples: list[Sample]) -> SampleRow:
        values: dict[str, Any] = {}
        for field in meter_fields(self.kind).values():
            if field.aggregation != "computed":
                known = [sample.values[field.of] for sample in samples if field.of in sample.values]
                values[field.name] = field.stored(_OF_A_SECOND[field.aggregation](known)) if known else None
        self._sequence += 1
        last, so_far = samples[-1], self.energy_so_far_j()
        own, machine = (_percent(before, last, counter) for counter in ("cpu_s", "machine_cpu_s"))
        return self.kind(
            sequence=self._sequence,
            at_s=last.at_s + self.wall_offset_s,
            phase=self._phases.most_common(1)[0][0],
            energy_j=so_far if isinstance(so_far, float) else None,
            cpu_pct=own,
            others_cpu_pct=None if own is None or machine is None else max(0.0, machine - own),
            **values,
        )


def _percent(before: Sample, last: Sample, counter: str) -> float | None:
    """Return a processor counter's growth as a share of one core."""
    elapsed = last.at_s - before.at_s
    if elapsed <= 0 or counter not in before.values or counter not in last.values:
        return None
    return max(0.0, 100 * (last.values[counter] - before.values[counter]) / elapsed)
