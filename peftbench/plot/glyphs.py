"""The characters that a chart is drawn with: braille and lines, or ASCII where a terminal cannot show those."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase

# Bits of a braille cell, column by column, from the top down (Unicode's dots 1-2-3-7 and 4-5-6-8).
_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


@dataclass(frozen=True, slots=True)
class Glyphs:
    """A set of characters, each one cell wide, and the dots that a cell has.

    `letters`: a series is drawn with its marker, which is a letter, not with dots.
    """

    dots_wide: int
    dots_high: int
    letters: bool
    markers: str
    dashed_markers: str
    axis: str
    tick_y: str
    corner: str
    line: str
    tick_x: str
    cursor: str
    solid: str
    dashed: str

    def marker(self, place: int, dashed: bool) -> str:
        """Return the marker at a place; the sets begin anew at their end."""
        markers = self.dashed_markers if dashed else self.markers
        return markers[place % len(markers)]


BRAILLE = Glyphs(2, 4, False, "●▲■◆▼", "○△□◇▽", "│", "┤", "└", "─", "┬", "╎", "━", "╍")
ASCII = Glyphs(1, 1, True, ascii_uppercase, ascii_lowercase, "|", "+", "+", "-", "+", ":", "A", "a")


def glyphs_for(encoding: str | None, term: str | None, ascii_only: bool = False) -> Glyphs:
    """Return what a terminal can show, told from its encoding and the TERM variable."""
    name = (encoding or "").lower().replace("-", "").replace("_", "")
    can = name.startswith("utf") and term not in ("dumb", "linux")  # Linux's console has no font with braille
    return BRAILLE if can and not ascii_only else ASCII


def _braille(left: int, right: int) -> str:
    halves = ((left, _BITS[0]), (right, _BITS[1]))
    return chr(0x2800 + sum(bit for dots, bits in halves for place, bit in enumerate(bits) if dots >> place & 1))


# The character of a cell, by its dots: four bits of the left column, then four of the right one.
BRAILLE_CELLS = tuple(_braille(dots & 15, dots >> 4) for dots in range(256))
