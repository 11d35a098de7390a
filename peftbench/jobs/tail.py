"""A log file read as it grows."""

from __future__ import annotations

from pathlib import Path

from peftbench.text import clean

_LONGEST = 4000  # characters of a line


class Tail:
    """Gives the lines of a file as they come; what a terminal would act on is cleaned away.

    Args:
        path: the file; it may not be there yet.
        lines: of what is there at the first look only so many of the last lines; None: all.
    """

    def __init__(self, path: Path, lines: int | None = None) -> None:
        self.path, self.lines = path, lines
        self._at = 0
        self._rest = b""

    def new(self, last: bool = False) -> list[str]:
        """Return the lines that are new; one without an end only when it is the `last` look."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._at)
                content = self._rest + file.read()
                self._at = file.tell()
        except FileNotFoundError:
            return []
        *whole, self._rest = content.split(b"\n")
        if last and self._rest:
            whole, self._rest = [*whole, self._rest], b""
        if self.lines is not None:
            whole, self.lines = whole[len(whole) - self.lines :] if self.lines < len(whole) else whole, None
        return [_readable(line) for line in whole]


def _readable(line: bytes) -> str:
    text = line.decode("utf-8", "replace").expandtabs(4)
    return " " * (len(text) - len(text.lstrip(" "))) + clean(text, _LONGEST)
