"""Check whether this machine is suitable for measurements; each check reports a finding and a remedy.

The checks are read-only. `examine` runs all of them; the groups (`machine`, `gpu`, `sensors`, `storage`, `network`)
can also be run separately.
"""

from __future__ import annotations

from peftbench.doctor.findings import Check, Finding, State, checked, counts
from peftbench.doctor.groups import examine
from peftbench.doctor.options import Options

__all__ = ["Check", "Finding", "Options", "State", "checked", "counts", "examine"]
