"""Queuing one run and following it until it ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from peftbench.jobs import control
from peftbench.jobs.follow import POLL_S, Update, follow
from peftbench.jobs.queue import enqueue
from peftbench.paths import worker_log
from peftbench.spec.resolve import Resolved
from peftbench.store.rows import MeterSettings, RunSettings


class Launched:
    """A run that this process queued and follows."""

    def __init__(self, run_id: str, database: Path) -> None:
        self.run_id, self.database = run_id, database
        self.log = worker_log(database, run_id)
        self.stops_asked = self._stops_done = 0

    def follow(self, poll_s: float = POLL_S) -> Iterator[Update]:
        """Yield updates several times a second until the run has ended."""
        for update in follow(self.database, self.run_id, poll_s):
            yield update
            while self._stops_done < self.stops_asked:
                self._stop(update)

    def stop(self) -> None:
        """Request a stop, which `follow` carries out; a second request kills the worker at once."""
        self.stops_asked += 1

    def _stop(self, update: Update) -> None:
        self._stops_done += 1
        if self._stops_done == 1:
            control.stop(self.database, update.run)
        else:
            control.kill(update.run)


def launch(
    resolved: Resolved,
    database: Path,
    name: str | None = None,
    meter_settings: MeterSettings | None = None,
    settings: RunSettings | None = None,
) -> Launched:
    """Queue a run behind those that already wait.

    Raises:
        MissingError: a file of the workload does not exist, or the database cannot be written.
        UsageError: the name is taken.
    """
    (run_id,) = enqueue(database, [resolved], name=name, meter_settings=meter_settings, settings=settings)
    return Launched(run_id, database)
