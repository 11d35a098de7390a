"""Out-of-memory kills, as counted by the kernel for a process's cgroup or the whole machine.

A killed process may take seconds to end, since its memory is released first. It is therefore attributed to a kill if
the counter grew shortly before the process was gone. Each kill is attributed to one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

RECENT_S = 60.0  # from a kill to the end of the process
_GROUPS = Path("/sys/fs/cgroup")
_MACHINE = Path("/proc/vmstat")


@dataclass(frozen=True, slots=True)
class KillCounter:
    """A kernel file with a line `oom_kill N`."""

    path: Path

    def read(self) -> int | None:
        """Return the kills so far; None where the kernel does not report them, or the cgroup is gone."""
        with suppress(OSError, ValueError, IndexError):
            for line in self.path.read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return None


def counter_of(pid: int, proc: Path = Path("/proc"), groups: Path = _GROUPS, machine: Path = _MACHINE) -> KillCounter:
    """Return the counter of a process's kills: its cgroup's (version 2, else 1), else the machine's.

    Args:
        pid: the process's id.
        proc: mount point of procfs.
        groups: mount point of the cgroup file systems.
        machine: the machine's own counter.
    """
    for candidate in _candidates(pid, proc, groups):
        if candidate.read() is not None:
            return candidate
    return KillCounter(machine)


def _candidates(pid: int, proc: Path, groups: Path) -> list[KillCounter]:
    """Return where a process's counter may be; in a container its cgroup's path may not be below the mount point."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return []
    versions: dict[int, list[KillCounter]] = {2: [], 1: []}
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            for root in (groups, groups / "unified"):
                versions[2] += [KillCounter(folder / "memory.events") for folder in (root / path.lstrip("/"), root)]
        elif "memory" in controllers.split(","):
            root = groups / "memory"
            versions[1] += [KillCounter(folder / "memory.oom_control") for folder in (root / path.lstrip("/"), root)]
    return [*versions[2], *versions[1]]


class OomKills:
    """The kernel's kills since creation that may have hit a process.

    Args:
        counter: the process's counter.
        clock: monotonic seconds.
    """

    def __init__(self, counter: KillCounter, clock: Callable[[], float] = time.monotonic) -> None:
        self.counter, self.clock = counter, clock
        self._count = counter.read()
        self._grown: list[float] = []  # time at which each kill was seen

    def look(self) -> None:
        """Read the counter; to be called often, so that the time of each kill is known."""
        count = self.counter.read()
        if count is not None and self._count is not None:
            self._grown += [self.clock()] * (count - self._count)
        self._count = count if count is not None else self._count

    def recent(self) -> bool:
        """Read the counter and tell whether there was a kill recently."""
        self.look()
        return any(self.clock() - moment <= RECENT_S for moment in self._grown)

    def of_another(self) -> None:
        """Attribute the oldest recent kill to another process."""
        since = self.clock() - RECENT_S
        self._grown = [moment for moment in self._grown if moment >= since][1:]
