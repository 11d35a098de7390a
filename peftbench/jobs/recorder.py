"""Between training and the store: what training tells is written, and stops that were asked for reach it."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from peftbench.errors import Interrupted
from peftbench.jobs.heartbeat import Heartbeat
from peftbench.store.rows import Epoch, Phase, Prediction, Progress, SampleRow, Score, TaskBest
from peftbench.store.run_log import RunLog
from peftbench.text import clean

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignal(BaseException):
    """SIGTERM or SIGINT. No `except Exception` of a library on the way may take it for its own trouble."""


class Stops:
    """Signals that stop a run: at once, or at the next step where one would be torn otherwise."""

    def __init__(self) -> None:
        self._deferred = False
        self._heard: str | None = None

    def listen(self) -> None:
        """Begin to hear them."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._hear)

    def ignore(self) -> None:
        """Hear none any more: the end is being written."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal waits for the next look."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.look()

    def look(self) -> None:
        """Raise what was heard.

        Raises:
            Interrupted: a signal came.
        """
        if self._heard is not None:
            heard, self._heard = self._heard, None
            self.ignore()
            raise Interrupted(heard)

    @property
    def heard(self) -> bool:
        """Whether a signal waits."""
        return self._heard is not None

    def _hear(self, number: int, frame: object) -> None:
        said = f"stopped by {signal.Signals(number).name}"
        if self._deferred:
            self._heard = said
            return
        self.ignore()  # once is enough; the end is being written
        raise StopSignal(said)


class StoreRecorder:
    """Writes what training tells into the store, and raises where the run was asked to stop."""

    def __init__(self, log: RunLog, stops: Stops, heartbeat: Heartbeat) -> None:
        self.log, self.stops, self.heartbeat = log, stops, heartbeat
        self.deferred = stops.deferred

    def asked(self) -> bool:
        """Whether a stop waits for the next word of progress."""
        return self.stops.heard

    def describe(self, *, conditions: dict[str, Any], **facts: Any) -> None:
        """Store facts of the loaded run."""
        self.log.describe(**facts)
        self.log.add_conditions(conditions)

    def closing(self) -> None:
        """Let no signal end the end."""
        self.stops.ignore()

    def samples(self, rows: Sequence[SampleRow]) -> None:
        """Store thinned samples of the meters."""
        self.log.put_samples(rows)

    def ending(self, phase: Phase, samples: Sequence[SampleRow], conditions: dict[str, Any], **facts: Any) -> None:
        """Store what is known only at the end."""
        self.log.put_ending(phase, samples, conditions, facts)

    def from_the_beginning(self) -> None:
        """Take away what an earlier worker told of epochs."""
        self.log.clear_epochs()

    def note(self, kind: str, message: str) -> None:
        """Store an event, and print it into the log."""
        print(f"{kind}: {message}", flush=True)
        self.log.put_event(kind, clean(message, 1000))

    def progress(self, progress: Progress) -> None:
        """Store where the run stands."""
        self.heartbeat.progressed()
        asked = self.log.put_progress(progress)
        self.stops.look()
        if asked:
            raise Interrupted("asked to stop")

    def losses(self, epoch: int, task: str, points: Sequence[tuple[int, int, float]]) -> None:
        """Store a stretch of the loss curve."""
        self.log.put_losses(epoch, task, points)

    def phases(self, phases: Sequence[Phase]) -> None:
        """Store phases outside an epoch."""
        self.log.put_phases(phases)

    def epoch(
        self,
        epoch: Epoch,
        scores: Sequence[Score],
        phases: Sequence[Phase],
        *,
        best_epoch: int | None,
        task_bests: Sequence[TaskBest],
        predictions: Sequence[Prediction],
    ) -> None:
        """Store an epoch, and print its line into the log."""
        dev = ", ".join(f"{s.task} {s.value}" for s in scores if s.split == "dev")
        print(f"epoch {epoch.epoch}: dev avg {epoch.dev_avg} ({dev})", flush=True)
        self.log.put_epoch(epoch, scores, phases, best_epoch=best_epoch, task_bests=task_bests, predictions=predictions)
