"""Whether the worker of a run still lives: the same process, not another one of the same number."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from peftbench.store.rows import Run, Worker

Liveness = Literal["alive", "dead", "elsewhere"]

_START_TOLERANCE_S = 2.0
_STARTING_GRACE_S = 300.0  # a worker claims its run within seconds


def this_process() -> Worker:
    """Return what identifies the calling process on its host, beyond a reboot."""
    import psutil

    pid = os.getpid()
    return Worker(pid, psutil.Process(pid).create_time(), _boot_id(), platform.node())


def liveness(worker: Worker) -> Liveness:
    """Tell whether a worker lives. A zombie is dead; one on another host cannot be told."""
    if worker.host != platform.node():
        return "elsewhere"
    if worker.boot_id != _boot_id():
        return "dead"
    import psutil

    try:
        process = psutil.Process(worker.pid)
        same = abs(process.create_time() - worker.started_at) < _START_TOLERANCE_S
        return "alive" if same and process.status() != psutil.STATUS_ZOMBIE else "dead"
    except psutil.NoSuchProcess:
        return "dead"
    except psutil.AccessDenied:
        return "alive"


def state_shown(run: Run) -> str:
    """Return the run's state as a person should read it: `lost` where its worker died without a word, or never came."""
    if run.state == "running" and run.worker is not None and liveness(run.worker) == "dead":
        return "lost"
    if run.state == "starting":
        waited = datetime.now(UTC) - datetime.fromisoformat(run.created_at)
        return "lost" if waited.total_seconds() > _STARTING_GRACE_S else run.state
    return run.state


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return f"boot-{int(psutil.boot_time())}"
