"""Printing into a log that lies on the disk of the database: a full disk must not end what prints."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import IO, Any


class _IfPossible:
    """A text stream whose words are dropped where they cannot be written."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write it, or let it be."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush it, or let it be."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def print_if_possible() -> None:
    """Let no print of this process fail from now on."""
    sys.stdout, sys.stderr = _IfPossible(sys.stdout), _IfPossible(sys.stderr)
