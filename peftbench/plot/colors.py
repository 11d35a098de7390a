"""Colours of series in a terminal's own palette, by place; they begin anew at their end."""

from __future__ import annotations

_NAMES = ("cyan", "magenta", "yellow", "green", "blue", "red")


def terminal_color(place: int) -> str:
    """Return the colour at a place, as rich knows it: the six dark ones, then the six bright ones."""
    bright, which = divmod(place, len(_NAMES))
    return f"bright_{_NAMES[which]}" if bright % 2 else _NAMES[which]
