"""What a terminal would be sent, and texts that must not act on it."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

HOSTILE = ["[red]x[/]", "\x1b[31mx", "[@click=app.x]y[/]", "\x1b]8;;http://x\x07z", "a\nb\rc", "\u202egnp", ":smile:"]


def printed(part: RenderableType, width: int = 80) -> str:
    """Return what a terminal of that width is sent, styles left out."""
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, markup=False, emoji=False, color_system=None).print(part)
    return out.getvalue()


LONG_NAMES = ("last-layer-as-printed-12", "full-as-printed-100", "dora-r128-7", "lora-r12-1")
