"""Incremental reading of a growing log file."""

from __future__ import annotations

from pathlib import Path

from peftbench.text import clean

_LONGEST = 4000  # characters per line


class Tail:
    """Reads new lines of a file; terminal control sequences are removed.

    Args:
        path: the file; it may not exist yet.
        lines: maximum number of last lines at the first read; None: all.
    """

    def __init__(self, path: Path, lines: int | None = None) -> None:
        self.path, self.lines = path, lines
        self._at = 0
        self._rest = b""

    def new(self, last: bool = False) -> list[str]:
        """Return the new lines; an unterminated one only at the `last` read."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._at)
                content = self._rest + file.read()
                self._at = file.tell()
        except FileNotFoundError:
            return []
        *complete, self._rest = content.split(b"\n")
        if last and self._rest:
            complete, self._rest = [*complete, self._rest], b""
        if self.lines is not None:
            complete, self.lines = (
                complete[len(complete) - self.lines :] if self.lines < len(complete) else complete,
                None,
            )
        return [_readable(line) for line in complete]


def _readable(line: bytes) -> str:
    text = line.decode("utf-8", "replace").expandtabs(4)
    return " " * (len(text) - len(text.lstrip(" "))) + clean(text, _LONGEST)
