"""A store with runs and their writers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from peftbench.store.reader import Reader
from peftbench.store.rows import Epoch, EpochResult, Worker
from peftbench.store.run_log import RunLog
from peftbench.store.writer import NewRun, Writer

WORKER = Worker(4711, 12.5, "boot", "host")


class Life:
    """Writes of workers and other processes, by run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer = Writer(path)
        self._logs: dict[str, RunLog] = {}

    def close(self) -> None:
        for log in self._logs.values():
            log.__exit__(None, None, None)
        self.writer.__exit__(None, None, None)

    def create_run(self, **facts: Any) -> str:
        run = NewRun(**{k: v for k, v in facts.items() if v is not None})
        self.writer.create_runs([run])
        return run.id

    def worker(self, run_id: str, worker: Worker = WORKER) -> RunLog | None:
        """Start the run and return its new worker's log; None where the claim is refused."""
        self.writer.start(run_id, None)
        log = RunLog(self.path, run_id)
        if not log.claim(worker):
            log.__exit__(None, None, None)
            return None
        self._logs[run_id] = log
        return log

    def log(self, run_id: str) -> RunLog:
        """Return the log of the run's worker, which is created if needed."""
        found = self._logs.get(run_id) or self.worker(run_id)
        assert found is not None
        return found

    def end(self, run_id: str, state: str, reason: str, **facts: Any) -> bool:
        """End a run from its current state."""
        with Reader(self.path) as reader:
            return self.writer.end(reader.run(run_id), state, reason, **facts)

    def claim(self, run_id: str, worker: Worker = WORKER) -> bool:
        return self.worker(run_id, worker) is not None

    def put_epoch(self, run_id: str, epoch: Epoch, *rows: Sequence[Any], **facts: Any) -> None:
        self.log(run_id).put_epoch(EpochResult(epoch, *rows, **facts))

    def finish(self, run_id: str, state: str, reason: str | None = None, exit_code: int = 0) -> None:
        self.log(run_id).finish(state, reason, exit_code)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Forward all else, such as `put_...(run_id, ...)`, to the run's worker, or else to the writer."""
        if hasattr(RunLog, name):
            return lambda run_id, *rest, **more: getattr(self.log(run_id), name)(*rest, **more)
        return getattr(self.writer, name)
