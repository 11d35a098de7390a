"""Options of the doctor: what to check, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """What to check.

    Args:
        database: the file for storing runs.
        gpu: index or UUID of a single card to check; None: every whole card.
        quick: skip the checks that take seconds on the cards.
        cadence_s: duration of measuring the update interval of the power sensor.
        window_s: duration of comparing the energy counter with the power sensor.
        load_s: duration of measuring the CPU use of other processes.
        hub_timeout_s: timeout for the hub.
    """

    database: Path
    gpu: str | None = None
    quick: bool = False
    cadence_s: float = 2.0
    window_s: float = 10.0
    load_s: float = 1.0
    hub_timeout_s: float = 5.0
