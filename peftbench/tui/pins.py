"""The pinned runs and their slots: a slot fixes a run's marker and colour while it is pinned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from peftbench.tui.source import MOST_PINNED

# Colours by slot: bright ones for dark themes, dark ones for light themes, ANSI colours for ANSI themes. They differ in
# luminance too, so that they can be distinguished without hue; markers differ as well.
DARK = ("#56c7ff", "#ff6ac1", "#ffd866", "#7ee787", "#c4a7ff", "#ff9e64", "#6ff0e0", "#f2b8b5", "#b5e48c", "#9ab8ff")
LIGHT = ("#0366d6", "#b3006b", "#7a5c00", "#1a7f37", "#6f42c1", "#b34700", "#00707a", "#a02020", "#4c6b00", "#3050b0")
ANSI = ("bright_cyan", "bright_magenta", "bright_yellow", "bright_green", "bright_blue", "bright_red", "bright_white")

SELECTED_SLOT = MOST_PINNED  # of the run at the cursor if it is not pinned; it has the last marker
SELECTED = ("#ffffff", "#000000", "default")  # its colour in dark, light and ANSI themes


class Pins:
    """The pinned runs. Until the user pins or unpins one, the source chooses them."""

    def __init__(self) -> None:
        self.slots: dict[str, int] = {}  # by run id
        self.wanted: tuple[str, ...] | None = None
        self._coming: set[str] = set()  # queued here, but not yet in a snapshot

    def take(self, pinned: Sequence[str], known: Iterable[str]) -> None:
        """Update from a snapshot: adopt its pins if the user has chosen none, and drop deleted runs."""
        existing = set(known)
        if self.wanted is None:
            self._keep(pinned)
        else:
            self.wanted = tuple(run_id for run_id in self.wanted if run_id in existing or run_id in self._coming)
            self._coming -= existing
            self._keep(self.wanted)

    def toggle(self, run_id: str) -> bool:
        """Pin or unpin a run; return False if the maximum number is pinned."""
        chosen = list(self.slots)
        if run_id in chosen:
            chosen.remove(run_id)
        elif len(chosen) >= MOST_PINNED:
            return False
        else:
            chosen.append(run_id)
        self._choose(chosen)
        return True

    def add(self, run_ids: Sequence[str]) -> None:
        """Pin runs that were just queued, even if no state contains them yet."""
        self._coming |= set(run_ids)
        self._choose([*self.slots, *(run_id for run_id in run_ids if run_id not in self.slots)][-MOST_PINNED:])

    def slots_of(self, run_ids: Sequence[str]) -> dict[str, int]:
        """Return a slot for each run: its own if it is pinned, else a free one."""
        slots = {run_id: self.slots[run_id] for run_id in run_ids if run_id in self.slots}
        for run_id in run_ids:
            if run_id not in slots:
                slots[run_id] = next(slot for slot in range(len(run_ids) + MOST_PINNED) if slot not in slots.values())
        return slots

    def _choose(self, chosen: Sequence[str]) -> None:
        self.wanted = tuple(chosen)
        self._keep(chosen)

    def _keep(self, pinned: Sequence[str]) -> None:
        kept = {run_id: self.slots[run_id] for run_id in pinned if run_id in self.slots}
        for run_id in pinned:
            if run_id not in kept:
                kept[run_id] = next(slot for slot in range(MOST_PINNED + 1) if slot not in kept.values())
        self.slots = {run_id: kept[run_id] for run_id in pinned}


def color_of(slot: int, dark: bool, ansi: bool) -> str:
    """Return the rich colour of a slot; those of pins repeat cyclically."""
    if slot == SELECTED_SLOT:
        return SELECTED[2 if ansi else 0 if dark else 1]
    colors = ANSI if ansi else DARK if dark else LIGHT
    return colors[slot % len(colors)]
