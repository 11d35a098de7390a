"""A store and the runs in it, each with the worker that writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from peftbench.store.reader import Reader
from peftbench.store.rows import Epoch, Worker
from peftbench.store.run_log import RunLog
from peftbench.store.writer import NewRun, Writer

WORKER = Worker(4711, 12.5, "boot", "host")


class Life:
    """What workers and others write, by run."""

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
        """Start the run and return what its new worker writes with; None where it may not have it."""
        self.writer.start(run_id, None)
        log = RunLog(self.path, run_id)
        if not log.claim(worker):
            log.__exit__(None, None, None)
            return None
        self._logs[run_id] = log
        return log

    def log(self, run_id: str) -> RunLog:
        """Return what the run's worker writes with; it has one from now on."""
        found = self._logs.get(run_id) or self.worker(run_id)
        assert found is not None
        return found

    def end(self, run_id: str, state: str, reason: str, **facts: Any) -> bool:
        """End a run that is as it is now."""
        with Reader(self.path) as reader:
            return self.writer.end(reader.run(run_id), state, reason, **facts)

    def claim(self, run_id: str, worker: Worker = WORKER) -> bool:
        return self.worker(run_id, worker) is not None

    def put_epoch(self, run_id: str, epoch: Epoch, *rows: Sequence[Any], **facts: Any) -> None:
        self.log(run_id).put_epoch(epoch, *rows, **facts)

    def finish(self, run_id: str, state: str, reason: str | None = None, exit_code: int = 0) -> None:
        self.log(run_id).finish(state, reason, exit_code)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Everything else: `put_...(run_id, ...)` and the like, of the run's worker, or else of the writer."""
        if hasattr(RunLog, name):
            return lambda run_id, *rest, **more: getattr(self.log(run_id), name)(*rest, **more)
        return getattr(self.writer, name)
