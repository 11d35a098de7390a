"""Whether the worker of a run still lives: the same process, not another one of the same number."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from peftbench.store.rows import WORKING_STATES, Run, State, Worker

Liveness = Literal["alive", "dead", "elsewhere"]

SILENT_S = 60.0  # a worker beats every few seconds
GONE_S = 600.0  # of a worker on another host, which cannot be looked at
STARTING_GRACE_S = 300.0  # a worker claims its run within seconds
_START_TOLERANCE_S = 0.05
_ZOMBIE = "Z"


def this_process() -> Worker:
    """Return what identifies the calling process on its host, beyond a reboot."""
    return identity(os.getpid())


def identity(pid: int) -> Worker:
    """Return what identifies a living process of this host.

    Raises:
        ProcessLookupError: there is none.
    """
    return Worker(pid, _started_and_state(pid)[0], _boot_id(), platform.node())


def liveness(worker: Worker) -> Liveness:
    """Tell whether a worker lives. A zombie is dead; one on another host cannot be told."""
    if worker.host != platform.node():
        return "elsewhere"
    if worker.boot_id != _boot_id():
        return "dead"
    try:
        started_at, state = _started_and_state(worker.pid)
    except ProcessLookupError:
        return "dead"
    except PermissionError:
        return "alive"
    same = abs(started_at - worker.started_at) < _START_TOLERANCE_S
    return "alive" if same and state != _ZOMBIE else "dead"


def state_shown(run: Run) -> State:
    """Return the run's state as a person should read it now, which nobody may have written yet.

    `lost` where its worker died without a word or never came, `stalled` where it lives and has long said nothing.
    """
    if run.state in WORKING_STATES and run.worker is not None:
        lives, silent_s = liveness(run.worker), seconds_since(run.heartbeat_at)
        if lives == "dead" or (lives == "elsewhere" and silent_s > GONE_S):
            return "lost"
        return "stalled" if run.state == "running" and silent_s > SILENT_S else run.state
    if run.state in ("starting", "stopping") and run.worker is None:
        return "lost" if seconds_since(run.state_at) > STARTING_GRACE_S else run.state
    return run.state


def seconds_since(moment: str | None) -> float:
    """Return the seconds since a time of the store; 0 where there is none, or the clock was put back."""
    if moment is None:
        return 0.0
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())


def _started_and_state(pid: int) -> tuple[float, str]:
    """Return when a process started and its state's letter.

    On Linux in seconds since the boot, by the kernel's own count: the wall clock may be put forward or back meanwhile.
    """
    try:
        # "pid (name) state ...": the name may hold anything, so what follows its last bracket is looked at
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK"), fields[0].decode()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            raise ProcessLookupError(pid) from None
    return _through_psutil(pid)


def _through_psutil(pid: int) -> tuple[float, str]:
    import psutil

    try:
        process = psutil.Process(pid)
        return process.create_time(), _ZOMBIE if process.status() == psutil.STATUS_ZOMBIE else "R"
    except psutil.NoSuchProcess as error:
        raise ProcessLookupError(pid) from error
    except psutil.AccessDenied as error:
        raise PermissionError(pid) from error


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return f"boot-{int(psutil.boot_time())}"
