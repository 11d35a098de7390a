"""Whether this machine can be trusted to measure: checks, each with what was found and what to do about it.

Nothing is changed by looking. `examine` runs every check; a group of them (`machine`, `gpu`, `sensors`, `storage`,
`network`) also stands alone.
"""

from __future__ import annotations

from peftbench.doctor.findings import Check, Finding, State, checked, counts
from peftbench.doctor.groups import examine
from peftbench.doctor.options import Options

__all__ = ["Check", "Finding", "Options", "State", "checked", "counts", "examine"]
