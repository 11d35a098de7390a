"""The process's own memory, from the kernel's books."""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def reset_peak_rss() -> None:
    """Start a new peak of the resident memory, where the kernel can (Linux 4.0 and later)."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return


def peak_rss_mib() -> float | None:
    """Return the peak resident memory since the last reset, in MiB; None where the kernel does not tell."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        return None
    return None
