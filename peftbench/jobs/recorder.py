"""The worker's recorder: writes what training reports into the store, and interrupts it when a stop is requested."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Unpack

from peftbench import formatting
from peftbench.errors import Interrupted
from peftbench.jobs.heartbeat import Heartbeat
from peftbench.jobs.same_file import DatabaseGone
from peftbench.store.conditions import Conditions, RunFacts
from peftbench.store.rows import EpochResult, HeldOutResult, InterimScore, Phase, Progress, SampleRow, TrainPoint
from peftbench.store.run_log import RunLog
from peftbench.text import clean

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignal(BaseException):
    """SIGTERM or SIGINT. Not an `Exception`, so that no library on the way swallows it."""


class Stops:
    """Signals that stop a run: at once, or after the step that is under way."""

    def __init__(self) -> None:
        self._deferred = False
        self._received: str | None = None

    def install(self) -> None:
        """Install the handlers. A signal is kept until `raise_at_once`."""
        self._deferred = True
        for number in STOP_SIGNALS:
            signal.signal(number, self._handle)

    def raise_at_once(self) -> None:
        """From now on, let a signal raise where the program is.

        Raises:
            Interrupted: one was received since `install`.
        """
        self._deferred = False
        self.check()

    def ignore(self) -> None:
        """Ignore them from now on: the end is being written."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within it, a signal is kept until `check`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    def check(self) -> None:
        """Raise if a signal was received.

        Raises:
            Interrupted: a signal came.
        """
        if self._received is not None:
            reason, self._received = self._received, None
            self.ignore()
            raise Interrupted(reason)

    @property
    def received(self) -> bool:
        """Whether a signal was received and not raised yet."""
        return self._received is not None

    def _handle(self, number: int, frame: object) -> None:
        reason = f"stopped by {signal.Signals(number).name}"
        if self._deferred:
            self._received = reason
            return
        self.ignore()  # once is enough; the end is being written
        raise StopSignal(reason)


class StoreRecorder:
    """Writes what training reports into the store, and raises where a stop of the run was requested."""

    def __init__(self, log: RunLog, stops: Stops, heartbeat: Heartbeat) -> None:
        self.log, self.stops, self.heartbeat = log, stops, heartbeat
        self.deferred = stops.deferred

    def asked(self) -> bool:
        """Return whether the next `progress` will interrupt the run."""
        return self.stops.received or self.heartbeat.database_gone

    def describe(self, *, conditions: Conditions, **facts: Unpack[RunFacts]) -> None:
        """Store facts of the loaded run."""
        self.log.describe(**facts)
        self.log.add_conditions(conditions)

    def closing(self) -> None:
        """Ignore signals while the end of the run is written."""
        self.stops.ignore()

    def samples(self, rows: Sequence[SampleRow]) -> None:
        """Store thinned samples of the meters."""
        self.log.put_samples(rows)

    def ending(
        self, phase: Phase, samples: Sequence[SampleRow], conditions: Conditions, **facts: Unpack[RunFacts]
    ) -> None:
        """Store what is known only at the end."""
        self.log.put_ending(phase, samples, conditions, facts)

    def from_the_beginning(self) -> None:
        """Delete the epochs that an earlier worker stored."""
        self.log.clear_epochs()

    def note(self, kind: str, message: str) -> None:
        """Store an event, and print it into the log."""
        print(f"{_clock()} {kind}: {message}", flush=True)
        self.log.put_event(kind, clean(message, 1000))

    def progress(self, progress: Progress) -> None:
        """Store where the run stands."""
        self.heartbeat.progressed()
        stop_requested = self.log.put_progress(progress)
        self.stops.check()
        if self.heartbeat.database_gone:
            raise DatabaseGone(self.heartbeat.database)
        if stop_requested:
            raise Interrupted("asked to stop")

    def train_points(self, points: Sequence[TrainPoint], *, in_place_of_all: bool = False) -> None:
        """Store points of the training curve."""
        self.log.put_train_points(points, in_place_of_all=in_place_of_all)

    def interim(self, scores: Sequence[InterimScore]) -> None:
        """Store scores within an epoch."""
        self.log.put_interim_scores(scores)

    def phases(self, phases: Sequence[Phase]) -> None:
        """Store phases outside an epoch."""
        self.log.put_phases(phases)

    def epoch(self, result: EpochResult) -> None:
        """Store an epoch, and print a line about it into the log."""
        dev = ", ".join(f"{s.task} {s.metric} {formatting.score(s.value)}" for s in result.scores if s.split == "dev")
        steps = sum(phase.steps or 0 for phase in result.phases if phase.phase in ("warmup", "train"))
        average = formatting.score(result.epoch.dev_avg)
        print(f"{_clock()} epoch {result.epoch.epoch}: dev avg {average} ({dev}), {steps} steps", flush=True)
        self.log.put_epoch(result)

    def held_out(self, result: HeldOutResult) -> None:
        """Store the scores on the test split, and print a line about them into the log."""
        scores = ", ".join(f"{s.task} {s.metric} {formatting.score(s.value)}" for s in result.scores)
        print(f"{_clock()} test, epoch {result.epoch}: {scores}", flush=True)
        self.log.put_held_out(result)


def _clock() -> str:
    """Return the time of day, for the log."""
    return datetime.now().strftime("%H:%M:%S")
