"""RAPL as a meter: the energy of the processor packages, where the kernel lets this user read it.

Since Linux 5.10 the counters are root's alone (CVE-2020-8694): `chmod a+r` on them is the machine owner's to do.
"""

from __future__ import annotations

from pathlib import Path

from peftbench.meters.readings import RAPL_FIELDS, Capabilities, Missing, Reading, nothing

FOLDER = Path("/sys/class/powercap")


class RaplMeter:
    """Sums the package counters (`intel-rapl:N`, also AMD's) and follows them over their wraps.

    Args:
        folder: where the kernel lists powercap zones.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        self._total_j = 0.0
        self._last: dict[Path, int] = {}
        self._range: dict[Path, int] = {}
        self.status: Missing | None = None
        self.detail = ""
        self.zones = self._packages()

    def _packages(self) -> list[Path]:
        try:
            candidates = sorted(zone for zone in self.folder.glob("intel-rapl:*") if zone.name.count(":") == 1)
            zones = [zone for zone in candidates if (zone / "name").read_text().startswith("package")]
            for zone in zones:
                self._range[zone] = int((zone / "max_energy_range_uj").read_text())
                self._last[zone] = int((zone / "energy_uj").read_text())
        except PermissionError as error:
            self.status, self.detail = "no_permission", f"{error.filename} is root's; chmod a+r makes it everybody's"
            return []
        except (OSError, ValueError) as error:
            self.status, self.detail = "unsupported", f"RAPL cannot be read: {error}"
            return []
        if not zones:
            self.status, self.detail = "unsupported", "no RAPL here (a virtual machine, or another processor)"
        return zones

    def probe(self) -> Capabilities:
        """Return whether the counters can be read."""
        if self.status is not None:
            return Capabilities("rapl", self.status, self.detail, dict.fromkeys(RAPL_FIELDS, self.status))
        return Capabilities("rapl", "ok", f"{len(self.zones)} packages", {"cpu_energy_j": "ok"})

    def sample(self) -> Reading:
        """Return joules since the meter was made."""
        if self.status is not None:
            return nothing(RAPL_FIELDS, self.status)
        try:
            for zone in self.zones:
                now = int((zone / "energy_uj").read_text())
                moved = now - self._last[zone]
                self._total_j += (moved if moved >= 0 else moved + self._range[zone]) / 1e6
                self._last[zone] = now
        except (OSError, ValueError):
            return nothing(RAPL_FIELDS, "lost")
        return Reading({"cpu_energy_j": self._total_j})

    def close(self) -> None:
        """Hold nothing."""
