"""Filtering and sorting of the runs table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from peftbench.analysis.run_filter import RunQuery
from peftbench.analysis.scores import run_sign
from peftbench.store.rows import ACTIVE_STATES
from peftbench.tui.state import RunLine


class _Key(Protocol):
    def __call__(self, line: RunLine) -> Any: ...


@dataclass(frozen=True, slots=True)
class Order:
    """A sort order: its label, and the sort key (None: the database's order, newest first)."""

    label: str
    key: _Key | None


def _by_score(line: RunLine) -> tuple[bool, float]:
    return line.run.dev_avg is None, -run_sign(line.run) * (line.run.dev_avg or 0.0)


ORDERS = (
    Order("newest first", None),
    Order("best first", _by_score),
    Order("active first", lambda line: line.state not in ACTIVE_STATES),
    Order("by name", lambda line: line.run.name),
)


def listed(lines: Sequence[RunLine], query: RunQuery, order: Order) -> list[RunLine]:
    """Return the lines that match a filter, sorted by `order`."""
    matches = [line for line in lines if query.matches(line.run, line.state)] if query.terms else list(lines)
    return matches if order.key is None else sorted(matches, key=order.key)
