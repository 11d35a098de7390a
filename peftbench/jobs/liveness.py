"""Whether the worker of a run is alive: the same process, not another one that reuses its PID."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from peftbench.store.rows import WORKING_STATES, Run, State, Worker

Liveness = Literal["alive", "dead", "elsewhere"]

SILENT_S = 60.0  # without a heartbeat, which a worker sends every few seconds
GONE_S = 600.0  # likewise, of a worker on another host or in another PID namespace, whose process cannot be checked
STARTING_GRACE_S = 300.0  # a worker normally claims its run within seconds
_START_TOLERANCE_S = 0.05
_ZOMBIE = "Z"


def this_process() -> Worker:
    """Return the identity of the calling process on its host, unique across reboots."""
    return identity(os.getpid())


def identity(pid: int) -> Worker:
    """Return the identity of a living process of this host.

    Raises:
        ProcessLookupError: there is no such process.
    """
    return Worker(pid, _started_and_state(pid)[0], where(), platform.node())


def where() -> str:
    """Return the scope of the calling process's PID: the machine's boot id and the PID namespace."""
    try:
        return f"{_boot_id()}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return _boot_id()


def of_this_machine(worker: Worker) -> bool:
    """Tell whether a worker is or was on this machine, possibly in another container or under another host name."""
    boot_id, _, namespace = worker.boot_id.partition("/")
    return worker.host == platform.node() or (bool(namespace) and boot_id == _boot_id())


def liveness(worker: Worker) -> Liveness:
    """Tell whether a worker is alive. A zombie is dead; on another host or in another PID namespace it is unknown."""
    boot_id, _, namespace = worker.boot_id.partition("/")
    if not of_this_machine(worker) or (boot_id == _boot_id() and namespace and worker.boot_id != where()):
        return "elsewhere"
    if boot_id != _boot_id():
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
    """Return the run's current state as displayed, which may not be in the store yet.

    `lost` where its worker died unrecorded or never started, `stalled` where it is alive but its heartbeat is overdue.
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
    """Return the seconds since a stored timestamp; 0 where there is none, or the clock was set back."""
    if moment is None:
        return 0.0
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())


def _started_and_state(pid: int) -> tuple[float, str]:
    """Return a process's start time and the letter of its state.

    On Linux in seconds since boot, as counted by the kernel: the wall clock may be adjusted meanwhile.
    """
    try:
        # "pid (name) state ...": the name may contain anything, so fields are read after the last bracket
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
