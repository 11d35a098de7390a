"""Which runs the table lists, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from peftbench.store.rows import ACTIVE_STATES
from peftbench.tui.snapshot import Line


class _Key(Protocol):
    def __call__(self, line: Line) -> Any: ...


@dataclass(frozen=True, slots=True)
class Order:
    """An order: how it is said, and what lines are sorted by; None: as the store lists them, the newest first."""

    said: str
    key: _Key | None


def _by_score(line: Line) -> tuple[bool, float]:
    return line.run.dev_avg is None, -(line.run.dev_avg or 0.0)


ORDERS = (
    Order("newest first", None),
    Order("best first", _by_score),
    Order("going on first", lambda line: line.state not in ACTIVE_STATES),
    Order("by name", lambda line: line.run.name),
)


def listed(lines: Sequence[Line], words: str, order: Order) -> list[Line]:
    """Return the lines that hold every word, upper case or lower, in an order."""
    wanted = words.lower().split()
    found = [line for line in lines if all(word in _text(line) for word in wanted)] if wanted else list(lines)
    return found if order.key is None else sorted(found, key=order.key)


def _text(line: Line) -> str:
    run = line.run
    return " ".join((run.name, run.id, line.state, run.method, run.preset, run.workload, run.sweep or "")).lower()
