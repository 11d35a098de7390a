"""Following a run through the store, whoever started it and wherever its worker is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peftbench.errors import MissingError
from peftbench.jobs.queue import ensure_runner, runner_log
from peftbench.store.reader import Reader
from peftbench.store.rows import ACTIVE_STATES, Epoch, Progress, Run, RunRecord

POLL_S = 0.2
LOOK_AFTER_S = 2.0  # how often it is seen that somebody drains the queue
STARTS = 5  # of what drains the queue, in vain, until that is an error


@dataclass(frozen=True, slots=True)
class Update:
    """What is new of a run since the last look."""

    run: Run
    progress: Progress | None
    epochs: tuple[Epoch, ...]
    record: RunRecord


def follow(database: Path, run_id: str, poll_s: float = POLL_S) -> Iterator[Update]:
    """Yield what is new of a run several times a second until it has ended.

    Raises:
        MissingError: the run was deleted meanwhile, the database cannot be read, or nothing drains its queue.
    """
    seen = starts = 0
    looked_at = -LOOK_AFTER_S
    with Reader(database) as reader:
        record = reader.record(reader.run(run_id))
        while True:
            run = reader.run(run_id)
            if (run.epochs_done, run.state) != (seen, record.run.state):
                record = reader.record(run)
            new = tuple(epoch for epoch in record.epochs if epoch.epoch > seen)
            seen = max([seen, *(epoch.epoch for epoch in new)])
            yield Update(run, reader.progress(run_id), new, record)
            if run.state not in ACTIVE_STATES:
                return
            if time.monotonic() - looked_at >= LOOK_AFTER_S:
                looked_at = time.monotonic()
                starts = starts + 1 if ensure_runner(database) else 0
                if starts > STARTS:
                    raise MissingError(
                        f"what drains the queue of {database} does not stay", f"its log: {runner_log(database)}"
                    )
            time.sleep(poll_s)
