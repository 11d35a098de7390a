"""The line about the modules that have adapters."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from peftbench.text import clean


def adapted_lines(counts: Mapping[str, int]) -> list[Text]:
    """Return a line with the modules that have adapters, by their name within a layer; none without any."""
    if not counts:
        return []
    names = ", ".join(f"{clean(name, 60)} ({count})" for name, count in counts.items())
    total = sum(counts.values())
    return [Text(f"adapters on {total} module{'s' if total > 1 else ''}: {names}", style="dim")]
