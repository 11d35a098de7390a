"""Following a run through the store, whichever process started it and on whichever host it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peftbench.errors import MissingError
from peftbench.jobs.queue import ensure_runner, runner_log
from peftbench.jobs.same_file import SameFile
from peftbench.paths import run_folder
from peftbench.store.reader import Reader
from peftbench.store.rows import ACTIVE_STATES, Epoch, Progress, Run, RunRecord, SampleRow

POLL_S = 0.2
LOOK_AFTER_S = 2.0  # interval of checks that a runner drains the queue
SAMPLES = 60  # maximum meter samples per poll
STARTS = 5  # runner starts in vain before an error is raised


@dataclass(frozen=True, slots=True)
class Update:
    """News of a run since the last poll."""

    run: Run
    progress: Progress | None
    epochs: tuple[Epoch, ...]
    record: RunRecord
    samples: tuple[SampleRow, ...] = ()  # new meter samples


def follow(database: Path, run_id: str, poll_s: float = POLL_S) -> Iterator[Update]:
    """Yield a run's updates several times a second until it has ended.

    Raises:
        MissingError: the run was deleted, the database cannot be read or was replaced, or no runner stays to drain the
            queue.
    """
    seen = starts = sampled = 0
    looked_at = -LOOK_AFTER_S
    file = SameFile(database)
    with Reader(database) as reader:
        record = reader.record(reader.run(run_id))
        while True:
            run = reader.run(run_id)
            if (run.epochs_done, run.state) != (seen, record.run.state):
                record = reader.record(run)
            new = tuple(epoch for epoch in record.epochs if epoch.epoch > seen)
            seen = max([seen, *(epoch.epoch for epoch in new)])
            samples = tuple(reader.samples(run_id, sampled, last=SAMPLES))
            sampled = samples[-1].sequence if samples else sampled
            yield Update(run, reader.progress(run_id), new, record, samples)
            if run.state not in ACTIVE_STATES:
                return
            if time.monotonic() - looked_at >= LOOK_AFTER_S:
                looked_at = time.monotonic()
                if not file.there():
                    raise MissingError(
                        f"database {database}: it was deleted, moved or replaced while run {run.name} ({run_id}) was"
                        " followed",
                        f"its checkpoints are in {run_folder(database, run_id)}; put the database back, or a backup",
                    )
                starts = starts + 1 if ensure_runner(database) else 0
                if starts > STARTS:
                    raise MissingError(
                        f"the runner that drains the queue of {database} keeps ending",
                        f"its log: {runner_log(database)}",
                    )
            time.sleep(poll_s)
