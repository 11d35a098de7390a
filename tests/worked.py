"""Runs that this process executes itself as soon as it queues them: a worker takes seconds to import torch.

For tests of what a run leaves and of what the commands say about it; those of processes start real ones.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from peftbench.jobs import control, follow, heartbeat, queue
from peftbench.jobs.recorder import STOP_SIGNALS
from peftbench.jobs.worker import work
from peftbench.paths import worker_log
from peftbench.store.reader import Reader
from peftbench.store.writer import Writer


@contextmanager
def worked_here() -> Iterator[None]:
    """Within it, queued runs are executed in this process, one after another, where else a runner would be started."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (queue, control, follow):
            patch.setattr(module, "ensure_runner", _drained)
        patch.setattr(heartbeat, "ensure_runner", lambda database: False)
        yield


def _drained(database: Path) -> bool:
    while True:
        with Reader(database) as reader:
            run = reader.first_queued()
        if run is None:
            return False
        with Writer(database) as writer:
            assert writer.start(run.id, None), "a runner drains this queue too: it was started outside `worked_here`"
        handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        try:
            with worker_log(database, run.id).open("a") as log, redirect_stdout(log), redirect_stderr(log):
                work(run.id, database)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
