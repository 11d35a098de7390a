"""The sampler: a thread that asks every meter at a stated period, and open windows that sum up what it hears."""

from __future__ import annotations

import statistics
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from peftbench.meters.readings import Meter, Missing, Sample, nothing
from peftbench.meters.window import Base, Window

JOIN_S = 30.0
REMEMBERED = 10_000  # intervals kept for the figure of the real cadence


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often the meters were really asked. `failure` is set where a meter broke its word and raised."""

    period_ms: float
    median_ms: float | None
    p95_ms: float | None
    read_ms: float | None  # median time that one round of questions took
    samples: int
    failure: str | None


class Sampler:
    """Asks the meters and tells the open windows and listeners, from a thread of its own and on demand.

    Args:
        meters: asked in turn; each field belongs to one of them.
        period_s: from one sample to the next. A late one is not made up for.
        clock: monotonic seconds.
    """

    def __init__(self, meters: Sequence[Meter], period_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.meters, self.period_s, self.clock = tuple(meters), period_s, clock
        self.capabilities = tuple(meter.probe() for meter in meters)
        self.wall_offset_s = time.time() - clock()
        self.base = Base()
        self.listeners: list[Callable[[Sample], None]] = []
        self.failure: str | None = None
        self.samples = 0
        self._windows: list[Window] = []
        self._lock = threading.RLock()  # a signal's handler may raise in the middle of a sample
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._intervals: deque[float] = deque(maxlen=REMEMBERED)
        self._reads: deque[float] = deque(maxlen=REMEMBERED)

    def start(self) -> None:
        """Begin to sample."""
        self._thread = threading.Thread(target=self._sample_on, name="sampler", daemon=True)
        self._thread.start()

    def halt(self) -> None:
        """End the thread. Samples can still be taken on purpose."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(JOIN_S)
            if self._thread.is_alive():
                self.failure = f"the sampler's thread did not end within {JOIN_S:.0f} s: a meter hangs"
            self._thread = None

    def stop(self) -> None:
        """End the thread and close the meters."""
        self.halt()
        for meter in self.meters:
            meter.close()

    def take(self) -> Sample:
        """Take a sample now, for every window and listener."""
        with self._lock:
            sample = self._read()
            self.base.lowest_mib = min(self.base.lowest_mib, sample.values.get("device_used_mib", inf))
            for window in self._windows:
                window.add(sample)
            for listener in self.listeners:
                listener(sample)
            return sample

    def open(self) -> Window:
        """Open a window that begins with a sample taken now."""
        with self._lock:
            first = self.take()
            window = Window(first, first.at_s + self.wall_offset_s, self.base)
            self._windows.append(window)
            return window

    def close(self, window: Window) -> None:
        """Close a window with a sample taken now."""
        with self._lock:
            self.take()
            self.drop(window)

    def drop(self, window: Window) -> None:
        """Forget a window."""
        with self._lock:
            self._windows = [other for other in self._windows if other is not window]

    def cadence(self) -> Cadence:
        """Return how often the thread has really sampled."""
        with self._lock:
            intervals, reads = sorted(self._intervals), list(self._reads)
        return Cadence(
            period_ms=self.period_s * 1e3,
            median_ms=statistics.median(intervals) * 1e3 if intervals else None,
            p95_ms=intervals[int(0.95 * (len(intervals) - 1))] * 1e3 if intervals else None,
            read_ms=statistics.median(reads) * 1e3 if reads else None,
            samples=self.samples,
            failure=self.failure,
        )

    def _read(self) -> Sample:
        started = self.clock()
        values: dict[str, float] = {}
        missing: dict[str, Missing] = {}
        for meter, capabilities in zip(self.meters, self.capabilities, strict=True):
            try:
                reading = meter.sample()
            except Exception:  # a defect of the meter: it must be seen, and must not end the run
                self.failure = traceback.format_exc(limit=-2)
                reading = nothing(tuple(capabilities.fields), "lost")
            values.update(reading.values)
            missing.update(reading.missing)
        at_s = self.clock()
        self.samples += 1
        self._reads.append(at_s - started)
        return Sample(at_s, values, missing)

    def _sample_on(self) -> None:
        last: float | None = None
        due = self.clock() + self.period_s
        while not self._end.wait(max(0.0, due - self.clock())):
            try:
                at_s = self.take().at_s
            except Exception:  # a defect here: seen, and the next sample may do
                self.failure = traceback.format_exc(limit=-2)
                continue
            finally:
                due = max(due + self.period_s, self.clock())
            if last is not None:
                self._intervals.append(at_s - last)
            last = at_s
