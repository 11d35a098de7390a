"""Colours of series from the terminal's palette, repeated cyclically."""

from __future__ import annotations

_NAMES = ("cyan", "magenta", "yellow", "green", "blue", "red")


def terminal_color(index: int) -> str:
    """Return the rich colour of an index: six normal colours, then six bright ones."""
    bright, which = divmod(index, len(_NAMES))
    return f"bright_{_NAMES[which]}" if bright % 2 else _NAMES[which]
