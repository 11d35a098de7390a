"""Starting a run: its row first, then its worker, in a session of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from peftbench.errors import EXIT_FAILED, EXIT_INTERRUPTED, MissingError
from peftbench.paths import run_folder
from peftbench.spec.model import RunSpec
from peftbench.spec.resolve import Resolved
from peftbench.store.reader import Reader
from peftbench.store.rows import ACTIVE_STATES, Epoch, MeterSettings, Progress, Run, RunRecord
from peftbench.store.writer import Writer
from peftbench.tasks import FilesSource

POLL_S = 0.2
STOP_HEARD_S = 1.0
STOP_GRACE_S = 15.0


@dataclass(frozen=True, slots=True)
class Update:
    """What is new of a run since the last look."""

    run: Run
    progress: Progress | None
    epochs: tuple[Epoch, ...]
    record: RunRecord


class Launched:
    """A run whose worker this process started."""

    def __init__(self, run_id: str, database: Path, process: subprocess.Popen[bytes], log: Path) -> None:
        self.run_id = run_id
        self.database = database
        self.process = process
        self.log = log
        self._stops_asked = 0
        self._stop_began: float | None = None
        self._terminated = False

    def follow(self) -> Iterator[Update]:
        """Yield what is new several times a second until the run has ended.

        A worker that dies without a word (kill -9, out of memory) ends its run as failed here.
        """
        seen = 0
        with Reader(self.database) as reader:
            record = reader.record(reader.run(self.run_id))
            while True:
                if self._stops_asked and self.process.poll() is None:
                    self._press_stop()
                ended = self.process.poll()
                run = reader.run(self.run_id)
                if ended is not None and run.state in ACTIVE_STATES:
                    self._write_the_end(ended)
                    run = reader.run(self.run_id)
                if run.epochs_done > seen or run.state != record.run.state:
                    record = reader.record(run)
                new = tuple(epoch for epoch in record.epochs if epoch.epoch > seen)
                seen = max([seen, *(epoch.epoch for epoch in new)])
                yield Update(run, reader.progress(self.run_id), new, record)
                if run.state not in ACTIVE_STATES:
                    return
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(POLL_S)

    def stop(self) -> None:
        """Ask for the run to be stopped; `follow` does it. Asked twice, the worker is killed at once."""
        self._stops_asked += 1

    def _press_stop(self) -> None:
        """Take the next step of a stop: a flag in the store, then SIGTERM, then SIGKILL."""
        if self._stop_began is None:
            self._stop_began = time.monotonic()
            with Writer(self.database) as writer:
                writer.request_stop(self.run_id)
        waited = time.monotonic() - self._stop_began
        if self._stops_asked > 1 or waited > STOP_GRACE_S:
            self.process.kill()
        elif waited > STOP_HEARD_S and not self._terminated:
            self._terminated = True
            self.process.terminate()

    def _write_the_end(self, code: int) -> None:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        with Writer(self.database) as writer:
            if self._stop_began is not None:
                writer.finish(self.run_id, "interrupted", f"stopped, with {how}", EXIT_INTERRUPTED)
            else:
                reason = f"the worker ended with {how} and without a word; see {self.log}"
                writer.finish(self.run_id, "failed", reason, EXIT_FAILED)


def launch(
    resolved: Resolved, database: Path, name: str | None = None, meter_settings: MeterSettings | None = None
) -> Launched:
    """Insert the run's row and start its worker.

    Raises:
        MissingError: a file of the workload is not there, or the database cannot be written.
        UsageError: the name is taken.
    """
    spec = resolved.spec
    check_files(spec)
    with Writer(database) as writer:
        run_id = writer.create_run(
            spec_json=spec.canonical_json(),
            spec_hash=spec.hash(),
            group_hash=spec.group_hash(),
            origins=resolved.origins,
            name=name,
            meter_settings=meter_settings,
        )
        folder = run_folder(database, run_id)
        try:
            folder.mkdir(parents=True)
            log = folder / "worker.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "peftbench.jobs.worker", run_id, "--db", str(database.resolve())],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            writer.finish(run_id, "failed", f"its worker could not be started: {error}", EXIT_FAILED)
            raise MissingError(f"run {run_id}: its worker could not be started: {error}") from error
    return Launched(run_id, database, process, log)


def check_files(spec: RunSpec) -> None:
    """See that the files a workload names are there, before anything is started.

    Raises:
        MissingError: naming the first that is not.
    """
    from peftbench.data.load import SPLITS
    from peftbench.data.sources.files import split_path

    for task in spec.tasks:
        if isinstance(task.source, FilesSource):
            for split in SPLITS:
                split_path(task, task.source, split)
