"""How many terminal cells a text takes, for texts whose characters all terminals agree about."""

from __future__ import annotations

import re
import unicodedata

from peftbench.text import clean

# Joiners, variation selectors, skin tones and fillers: they take no cell here and one or two there. What they
# would modify is shown without them.
_DROPPED = re.compile("[\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef\U0001f3fb-\U0001f3ff\u3164\uffa0]")
# Symbols that became wide with Unicode 16: one cell in an older terminal, two in a newer one.
_DISPUTED = re.compile("[\u2630-\u2637\u268a-\u268f\u4dc0-\u4dff\U0001d300-\U0001d376]")
_COMBINING = {"Mn", "Me", "Mc"}


def printable(text: object) -> str:
    """Return a text cleaned, composed, and without what terminals measure differently."""
    return _DISPUTED.sub("?", clean(_DROPPED.sub("", unicodedata.normalize("NFC", clean(text)))))


def width(text: str) -> int:
    """Return the cells that a `printable` text takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def fit(text: str, cells: int) -> str:
    """Return a `printable` text that takes at most so many cells; where it is cut, it ends in a full stop or dots."""
    if width(text) <= cells:
        return text
    end = "." * min(2, cells)
    room, kept = cells - len(end), ""
    for character in text:
        room -= _width(character)
        if room < 0:
            break
        kept += character
    return kept.rstrip() + end


def _width(character: str) -> int:
    if unicodedata.category(character) in _COMBINING or "\u1160" <= character <= "\u11ff":
        return 0
    if "\ud7b0" <= character <= "\ud7ff":  # vowels and finals of old Hangul
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
