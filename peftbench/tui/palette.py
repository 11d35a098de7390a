"""Colours of runs by slot: bright on dark themes, dark on light themes, and ANSI colours for ANSI themes.

They differ in luminance too, so that they can be distinguished without hue; markers differ as well.
"""

from __future__ import annotations

DARK = ("#56c7ff", "#ff6ac1", "#ffd866", "#7ee787", "#c4a7ff", "#ff9e64", "#6ff0e0", "#f2b8b5", "#b5e48c", "#9ab8ff")
LIGHT = ("#0366d6", "#b3006b", "#7a5c00", "#1a7f37", "#6f42c1", "#b34700", "#00707a", "#a02020", "#4c6b00", "#3050b0")
ANSI = ("bright_cyan", "bright_magenta", "bright_yellow", "bright_green", "bright_blue", "bright_red", "bright_white")


def color_of(slot: int, dark: bool, ansi: bool) -> str:
    """Return the rich colour of a slot; the palette repeats cyclically."""
    colors = ANSI if ansi else DARK if dark else LIGHT
    return colors[slot % len(colors)]
