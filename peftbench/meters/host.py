"""The process and its host as a meter: resident memory, processor time, what others use, swap."""

from __future__ import annotations

import os
from pathlib import Path

from peftbench.meters.readings import HOST_FIELDS, Capabilities, Missing, Reading, Status, nothing

MIB = 2**20
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_IDLE = ("idle", "iowait", "guest", "guest_nice")  # guests are in user's time already


class HostMeter:
    """Reads this process and its machine through psutil."""

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil
        self._process = psutil.Process()

    def probe(self) -> Capabilities:
        """Return what psutil tells here."""
        reading = self.sample()
        fields: dict[str, Status] = {**dict.fromkeys(reading.values, "ok"), **reading.missing}
        return Capabilities("host", "ok" if reading.values else "unsupported", f"process {os.getpid()}", fields)

    def sample(self) -> Reading:
        """Read every field now."""
        try:
            memory = self._process.memory_info()
            own = self._process.cpu_times()
            machine_times = self._psutil.cpu_times()
        except (self._psutil.Error, OSError):
            return nothing(HOST_FIELDS, "unsupported")
        busy = sum(value for name, value in machine_times._asdict().items() if name not in _IDLE)
        values = {"rss_mib": memory.rss / MIB, "cpu_s": own.user + own.system}
        values["machine_cpu_s"] = busy
        swap = _kib("VmSwap:")
        missing: dict[str, Missing] = {} if swap is not None else {"swap_mib": "unsupported"}
        return Reading(values if swap is None else {**values, "swap_mib": swap / 1024}, missing)

    def close(self) -> None:
        """Hold nothing."""


def reset_peak_rss() -> bool:
    """Start a new peak of the resident memory; False where the kernel cannot (Linux before 4.0, or not permitted)."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def peak_rss_mib() -> float | None:
    """Return the peak resident memory since the last reset, in MiB; None where the kernel does not tell."""
    peak = _kib("VmHWM:")
    return None if peak is None else peak / 1024


def _kib(key: str) -> int | None:
    """Return a line of the kernel's book of this process, in KiB."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1])
    except OSError:
        return None
    return None
