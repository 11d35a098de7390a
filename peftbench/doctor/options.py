"""What the doctor is asked to look at, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """What to look at.

    Args:
        database: the file that runs would be kept in.
        gpu: an index or UUID of the one card to look at; None: every whole card.
        quick: leave out what takes seconds on the cards.
        cadence_s: how long to watch how often the power sensor changes.
        window_s: how long to hold the energy counter against the power sensor.
        load_s: how long to watch what others use of the processor.
        hub_timeout_s: how long the hub may take to answer.
    """

    database: Path
    gpu: str | None = None
    quick: bool = False
    cadence_s: float = 2.0
    window_s: float = 10.0
    load_s: float = 1.0
    hub_timeout_s: float = 5.0
