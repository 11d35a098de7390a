"""Colours of runs, by place: bright on dark, dark on light, and the terminal's own sixteen where it wants those.

They differ in luminance too, so that they can be told without hue, which markers do anyway.
"""

from __future__ import annotations

DARK = ("#56c7ff", "#ff6ac1", "#ffd866", "#7ee787", "#c4a7ff", "#ff9e64", "#6ff0e0", "#f2b8b5", "#b5e48c", "#9ab8ff")
LIGHT = ("#0366d6", "#b3006b", "#7a5c00", "#1a7f37", "#6f42c1", "#b34700", "#00707a", "#a02020", "#4c6b00", "#3050b0")
ANSI = ("bright_cyan", "bright_magenta", "bright_yellow", "bright_green", "bright_blue", "bright_red", "bright_white")


def color_of(place: int, dark: bool, ansi: bool) -> str:
    """Return the colour of the run at a place, as rich knows it; they begin anew at their end."""
    colors = ANSI if ansi else DARK if dark else LIGHT
    return colors[place % len(colors)]
