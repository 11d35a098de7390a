"""Width of text in terminal cells, restricted to characters that all terminals measure alike."""

from __future__ import annotations

import re
import unicodedata

from peftbench.text import clean

# Joiners, variation selectors, skin tones and fillers: their width differs between terminals, so they are dropped and
# the base character is shown unmodified.
_DROPPED = re.compile("[\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef\U0001f3fb-\U0001f3ff\u3164\uffa0]")
# Symbols that became wide in Unicode 16: one cell in older terminals, two in newer ones.
_DISPUTED = re.compile("[\u2630-\u2637\u268a-\u268f\u4dc0-\u4dff\U0001d300-\U0001d376]")
_COMBINING = {"Mn", "Me", "Mc"}


def printable(text: object) -> str:
    """Return a text cleaned, in NFC, and without characters that terminals measure differently."""
    return _DISPUTED.sub("?", clean(_DROPPED.sub("", unicodedata.normalize("NFC", clean(text)))))


def width(text: str) -> int:
    """Return the width of a `printable` text in cells."""
    return len(text) if text.isascii() else sum(map(_width, text))


def fit(text: str, cells: int) -> str:
    """Truncate a `printable` text to at most `cells` cells; a truncated text ends in one or two dots."""
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
