"""The footer's keys: as many as the screen has room for, the most needed ones first."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.events import Resize
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from peftbench.tui.actions import FIRST_SHOWN

_PALETTE = 12  # cells of the palette's own key


class KeyBar(Footer):
    """A footer that leaves keys out rather than cut them off."""

    def __init__(self) -> None:
        super().__init__(compact=True)
        self._width = 0

    def compose(self) -> ComposeResult:
        """Yield the keys that have room."""
        found = list(super().compose())
        keys = [
            widget for widget in found if isinstance(widget, FooterKey) and not widget.has_class("-command-palette")
        ]
        sizes = [(key.action, len(key.key_display) + len(key.description) + 2) for key in keys]
        kept = that_fit(sizes, self.app.size.width - _PALETTE)
        yield from (widget for widget in found if widget not in keys or keys.index(widget) in kept)

    def on_resize(self, event: Resize) -> None:
        """Choose anew where the screen is wider or narrower."""
        if event.size.width != self._width:
            self._width = event.size.width
            self.call_after_refresh(self.recompose)


def that_fit(keys: Sequence[tuple[str, int]], room: int) -> set[int]:
    """Return the places of the keys, (action, cells) each, that fit into a row, the most needed ones first."""
    order = {action: place for place, action in enumerate(FIRST_SHOWN)}
    kept: set[int] = set()
    for place in sorted(range(len(keys)), key=lambda place: (order.get(keys[place][0], len(order)), place)):
        if keys[place][1] <= room:
            kept.add(place)
            room -= keys[place][1]
    return kept
