"""Log files of runners and workers: printed to without failing when the disk is full, and read while they grow."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from peftbench.text import clean

_LONGEST = 4000  # characters per line


class _IfPossible:
    """A text stream that drops what cannot be written."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, ignoring errors."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, ignoring errors."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def print_if_possible() -> None:
    """Make all later prints of this process ignore write errors."""
    sys.stdout, sys.stderr = _IfPossible(sys.stdout), _IfPossible(sys.stderr)


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
