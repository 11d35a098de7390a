"""Sanitising of untrusted text for printing.

Run names, data, error messages, logs and hardware names are external input. Each is passed through `clean` before it is
printed, and is handled as plain text, never as markup.
"""

from __future__ import annotations

import re
import unicodedata

# CSI, OSC (ended by BEL or ST), other string sequences, then any two-character escape.
_ESCAPE_SEQUENCE = re.compile(
    r"""\x1b\[[0-?]*[ -/]*[@-~]
      | \x9b[0-?]*[ -/]*[@-~]
      | \x1b[\]PX^_].*?(?:\x07|\x1b\\|\x9c|$)
      | \x1b[ -/]*[0-~]?""",
    re.VERBOSE | re.DOTALL,
)
_ZERO_WIDTH_JOINER = "\u200d"  # holds emoji sequences together; harmless
_DROPPED = {"Cc", "Cf", "Cs", "Co", "Cn"}


def clean(text: object, limit: int | None = None) -> str:
    """Return `text` on one line, without control, escape, bidi or unassigned characters.

    Runs of white space become a single space. With `limit`, a longer text is truncated to that many characters, the
    last one an ellipsis.
    """
    raw = _ESCAPE_SEQUENCE.sub("", str(text))
    kept = "".join(_printable(character) for character in raw)
    line = " ".join(kept.split())
    if limit is not None and len(line) > limit:
        return line[: max(limit - 1, 0)] + "…"
    return line


def _printable(character: str) -> str:
    if character.isspace():
        return " "
    if character == _ZERO_WIDTH_JOINER:
        return character
    return "" if unicodedata.category(character) in _DROPPED else character


def lone_surrogate(text: str) -> str | None:
    """Describe the first half of a surrogate pair in a text, which cannot be encoded as UTF-8; None: there is none."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"lone surrogate U+{ord(text[error.start]):04X} at character {error.start + 1}"
    return None
