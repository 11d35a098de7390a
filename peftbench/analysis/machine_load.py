"""Whether other processes keep the machine busy during a run, from its latest meter samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from peftbench.store.conditions import Conditions
from peftbench.store.rows import SampleRow
from peftbench.threads import BUSY_SHARE

LOOKED_BACK_S = 10.0
FEWEST = 5  # samples in that time
QUIET_SHARE = 0.1  # mean share of the cores; hysteresis: busy from `BUSY_SHARE` on, no longer busy below this


class Others:
    """CPU use by other processes, from a run's samples, with different thresholds for busy and no longer busy.

    Args:
        cores: of the machine; None where the run did not record them.
    """

    def __init__(self, cores: int | None) -> None:
        self.cores = cores
        self._recent: deque[tuple[float, float]] = deque()  # moment, cores used
        self._busy = False

    def take(self, samples: Iterable[SampleRow]) -> None:
        """Add new samples, oldest first."""
        for sample in samples:
            if sample.others_cpu_pct is None or not self.cores:
                continue
            self._recent.append((sample.at_s, sample.others_cpu_pct / 100))
            while self._recent[0][0] <= sample.at_s - LOOKED_BACK_S:
                self._recent.popleft()
            if len(self._recent) >= FEWEST:
                share = self._mean() / self.cores
                self._busy = share >= QUIET_SHARE if self._busy else share >= BUSY_SHARE

    @property
    def busy_cores(self) -> float | None:
        """The number of cores used by others while the machine is busy; else None."""
        return self._mean() if self._busy else None

    def _mean(self) -> float:
        return sum(used for _, used in self._recent) / len(self._recent)


def others_now(samples: Iterable[SampleRow], conditions: Conditions) -> Others:
    """Return the use by other processes as of the last sample.

    Args:
        samples: of one run, oldest first.
        conditions: the run's.
    """
    others = Others(conditions.get("cores"))
    others.take(samples)
    return others
