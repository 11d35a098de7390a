"""Workaround for resize loops of Textual screens."""

from __future__ import annotations

from textual.command import CommandPalette
from textual.events import Resize
from textual.message_pump import MessagePump


class Sized(MessagePump):
    """A screen that ignores resize events whose size is not the app's current size.

    Textual screens apply every resize event and post it to themselves again. Two different sizes in flight then
    alternate forever; this happens in a terminal of unknown size (two guesses are made) and when resizing quickly.
    The last event always has the app's own size, so ignoring the others loses nothing.
    """

    async def _on_resize(self, event: Resize) -> None:
        if event.size != self.app.size:
            event.stop()
            event.prevent_default()  # otherwise Textual calls its own handler


class Palette(Sized, CommandPalette):
    """The command palette with the same workaround."""
