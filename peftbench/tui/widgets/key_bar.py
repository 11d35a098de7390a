"""Footer with as many keys as fit, by priority, and the number of hidden ones."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.events import Resize
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from peftbench.tui.actions import ACTIONS, FIRST_SHOWN
from peftbench.tui.base_app import BaseApp

_PALETTE = 12  # width of the command palette's key
_MORE = len(" +99")


class KeyBar(Footer):
    """A footer that omits keys instead of truncating them; `? Help +4` shows the number omitted."""

    app: BaseApp

    def __init__(self) -> None:
        super().__init__(compact=True)
        self._width = 0

    def compose(self) -> ComposeResult:
        """Yield the keys that fit."""
        refused = {action.name for action in ACTIONS if action.acts} if self.app.refused else set()
        widgets = [w for w in super().compose() if not (isinstance(w, FooterKey) and w.action in refused)]
        keys = [
            widget for widget in widgets if isinstance(widget, FooterKey) and not widget.has_class("-command-palette")
        ]
        sizes = [(key.action, len(key.key_display) + len(key.description) + 2) for key in keys]
        room = self.app.size.width - _PALETTE
        kept = that_fit(sizes, room)
        if len(kept) < len(keys):
            kept = that_fit(sizes, room - _MORE)
            for key in keys:
                if key.action == "help":
                    key.description = f"{key.description} +{len(keys) - len(kept)}"
        yield from (widget for widget in widgets if widget not in keys or keys.index(widget) in kept)

    def on_resize(self, event: Resize) -> None:
        """Choose the keys again if the width has changed."""
        if event.size.width != self._width:
            self._width = event.size.width
            self.call_after_refresh(self.recompose)


def that_fit(keys: Sequence[tuple[str, int]], room: int) -> set[int]:
    """Return the indices of the keys, given as (action, width), that fit into a row, by priority."""
    order = {action: index for index, action in enumerate(FIRST_SHOWN)}
    kept: set[int] = set()
    for index in sorted(range(len(keys)), key=lambda index: (order.get(keys[index][0], len(order)), index)):
        if keys[index][1] <= room:
            kept.add(index)
            room -= keys[index][1]
    return kept
