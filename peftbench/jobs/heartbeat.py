"""A worker's heartbeat thread: reports life and progress, and watches over the queue's runner and the database file."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from peftbench.errors import PeftbenchError
from peftbench.jobs.queue import ensure_runner
from peftbench.jobs.same_file import SameFile
from peftbench.store.run_log import RunLog

BEAT_S = 5.0
STALLED_S = 300.0  # without progress; loading a large corpus makes none for minutes


class Heartbeat:
    """Sends heartbeats for one run while the context is open.

    Args:
        database: path of the database.
        run_id: the run's id.
        attempt: number of the worker's claim.
        file: the database file as the worker opened it; None: as it is now.
        beat_s: interval between heartbeats.
        stalled_s: time without progress after which the run is marked as stalled.
    """

    def __init__(
        self,
        database: Path,
        run_id: str,
        attempt: int,
        file: SameFile | None = None,
        beat_s: float = BEAT_S,
        stalled_s: float = STALLED_S,
    ) -> None:
        self.database, self.run_id, self.attempt = database, run_id, attempt
        self.file = file or SameFile(database)
        self.database_gone = False
        self.beat_s, self.stalled_s = beat_s, stalled_s
        self._progressed_at = time.monotonic()
        self._stalled = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def progressed(self) -> None:
        """Record that the run made progress."""
        self._progressed_at = time.monotonic()
        self._stalled = False

    def _beat_on(self) -> None:
        try:
            with RunLog(self.database, self.run_id, self.attempt) as log:
                while not self._end.wait(self.beat_s):
                    self._beat(log)
        except Exception as error:  # the run continues without it; others see that the heartbeat is missing
            print(f"the heartbeat ended: {type(error).__name__}: {error}", file=sys.stderr, flush=True)

    def _beat(self, log: RunLog) -> None:
        if not self.file.there():
            self.database_gone = True
            return
        others_wait = log.beat()
        silent_s = time.monotonic() - self._progressed_at
        if silent_s > self.stalled_s and not self._stalled:
            self._stalled = True
            log.stall(f"it has made no progress for {silent_s:.0f} s")
        if others_wait:
            with suppress(OSError, PeftbenchError):
                ensure_runner(self.database)
