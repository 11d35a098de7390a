"""Printing to a log on the database's disk without failing when the disk is full."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import IO, Any


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
