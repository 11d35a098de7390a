"""Which runs are drawn, and at which place each: its marker and colour stay its own while it is pinned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from peftbench.tui.source import MOST_PINNED


class Pins:
    """The pinned runs. Until somebody pins or unpins one, the source chooses them."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}  # by run id
        self.wanted: tuple[str, ...] | None = None
        self._coming: set[str] = set()  # queued here, and in no snapshot yet

    def take(self, pinned: Sequence[str], known: Iterable[str]) -> None:
        """Take over what a snapshot has pinned, where nobody chose; forget runs that are not there any more."""
        there = set(known)
        if self.wanted is None:
            self._keep(pinned)
        else:
            self.wanted = tuple(run_id for run_id in self.wanted if run_id in there or run_id in self._coming)
            self._coming -= there
            self._keep(self.wanted)

    def toggle(self, run_id: str) -> bool:
        """Pin a run, or no more; False where too many are pinned."""
        chosen = list(self.places)
        if run_id in chosen:
            chosen.remove(run_id)
        elif len(chosen) >= MOST_PINNED:
            return False
        else:
            chosen.append(run_id)
        self._choose(chosen)
        return True

    def add(self, run_ids: Sequence[str]) -> None:
        """Pin runs that were just queued, whether or not a snapshot has them yet."""
        self._coming |= set(run_ids)
        self._choose([*self.places, *(run_id for run_id in run_ids if run_id not in self.places)][-MOST_PINNED:])

    def places_of(self, run_ids: Sequence[str]) -> dict[str, int]:
        """Return a place for each run: its own where it is pinned, else one that no other has."""
        found = {run_id: self.places[run_id] for run_id in run_ids if run_id in self.places}
        for run_id in run_ids:
            if run_id not in found:
                found[run_id] = next(
                    place for place in range(len(run_ids) + MOST_PINNED) if place not in found.values()
                )
        return found

    def _choose(self, chosen: Sequence[str]) -> None:
        self.wanted = tuple(chosen)
        self._keep(chosen)

    def _keep(self, pinned: Sequence[str]) -> None:
        kept = {run_id: self.places[run_id] for run_id in pinned if run_id in self.places}
        for run_id in pinned:
            if run_id not in kept:
                kept[run_id] = next(place for place in range(MOST_PINNED + 1) if place not in kept.values())
        self.places = {run_id: kept[run_id] for run_id in pinned}
