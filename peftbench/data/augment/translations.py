"""Disk cache of translations, appended line by line as they are computed.

A file belongs to one model, one direction and one set of generation settings. A killed process leaves at most one
incomplete line, which the next one skips.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path


class Translations:
    """The translations in one file.

    Args:
        path: of the file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, str] = {}
        content = path.read_bytes() if path.is_file() else b""
        self._is_whole = not content or content.endswith(b"\n")
        for line in content.split(b"\n"):
            try:
                row = json.loads(line)
                self._known[row["text"]] = str(row["translation"])
            except (ValueError, KeyError, TypeError):
                continue

    def __contains__(self, text: str) -> bool:
        return _key(text) in self._known

    def __getitem__(self, text: str) -> str:
        return self._known[_key(text)]

    def add(self, made: Mapping[str, str]) -> None:
        """Append translations by source text; they are flushed to disk (fsync) on return."""
        rows = {_key(text): translation for text, translation in made.items()}
        lines = "".join(
            json.dumps({"text": key, "translation": translation}, ensure_ascii=False) + "\n"
            for key, translation in rows.items()
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(("" if self._is_whole else "\n").encode() + lines.encode("utf-8", "replace"))
            file.flush()
            os.fsync(file.fileno())
        self._is_whole = True
        self._known |= rows


def _key(text: str) -> str:
    """Return the text's SHA-256: source texts are not stored."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
