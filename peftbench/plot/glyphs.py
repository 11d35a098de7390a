"""Character sets of charts: braille and box drawing, or ASCII for terminals that cannot show those."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase

# Bits of a braille cell by column, from top to bottom (Unicode's dots 1-2-3-7 and 4-5-6-8).
_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


@dataclass(frozen=True, slots=True)
class Glyphs:
    """A set of characters, each one cell wide, and the number of dots per cell.

    `markers` and `dashed_markers` are pairs, all different: 20, and a last one for what is selected. `letters`: series
    are drawn with their marker, a letter, instead of dots.
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

    def marker(self, index: int, dashed: bool) -> str:
        """Return the marker of an index; markers repeat cyclically."""
        markers = self.dashed_markers if dashed else self.markers
        return markers[index % len(markers)]


BRAILLE = Glyphs(
    2,
    4,
    False,
    "●▲■◆▼" + ascii_uppercase[:15] + "★",
    "○△□◇▽" + ascii_lowercase[:15] + "☆",
    "│",
    "┤",
    "└",
    "─",
    "┬",
    "╎",
    "━",
    "╍",
)
ASCII = Glyphs(
    1, 1, True, ascii_uppercase[:20] + "*", ascii_lowercase[:20] + ".", "|", "+", "+", "-", "+", ":", "A", "a"
)


def glyphs_for(encoding: str | None, term: str | None, ascii_only: bool = False) -> Glyphs:
    """Return the character set for a terminal, from its encoding and the TERM variable."""
    name = (encoding or "").lower().replace("-", "").replace("_", "")
    can = name.startswith("utf") and term not in ("dumb", "linux")  # the Linux console font lacks braille
    return BRAILLE if can and not ascii_only else ASCII


def _braille(left: int, right: int) -> str:
    halves = ((left, _BITS[0]), (right, _BITS[1]))
    return chr(0x2800 + sum(bit for dots, bits in halves for index, bit in enumerate(bits) if dots >> index & 1))


# The braille character by the dots of a cell: four bits of the left column, then four of the right one.
BRAILLE_CELLS = tuple(_braille(dots & 15, dots >> 4) for dots in range(256))
