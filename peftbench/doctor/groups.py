"""All checks in order. A group that fails to start yields one failed finding, and the others continue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from peftbench.doctor import gpu, machine, network, sensors, storage
from peftbench.doctor.findings import Check, Finding, checked
from peftbench.doctor.options import Options

Group = Callable[[Options], Sequence[Check]]
GROUPS: dict[str, Group] = {
    "machine": machine.checks,
    "gpu": gpu.checks,
    "sensors": sensors.checks,
    "storage": storage.checks,
    "network": network.checks,
}


def examine(options: Options) -> Iterator[Finding]:
    """Yield each check's finding as soon as it is known, always in the same order."""
    for name, group in GROUPS.items():
        yield from examined(name, group, options)


def examined(name: str, group: Group, options: Options) -> Iterator[Finding]:
    """Yield the findings of one group."""
    checks: list[Check] = []

    def begin() -> Finding:
        checks.extend(group(options))
        return Finding(name, "ok", "")

    begun = checked(Check(name, begin))
    if begun.state != "ok":
        yield begun
    for check in checks:
        yield checked(check)
