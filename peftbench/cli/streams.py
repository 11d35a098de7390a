"""Robust standard streams: closed, full disk, a pipe without a reader, an encoding that lacks characters."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from peftbench.errors import EXIT_FAILED

# Commands with effects besides printing: for these, a closed standard output is not a failure.
_DO_MORE = frozenset(
    {"augment", "delete", "export", "import", "reproduce", "resume", "retry", "run", "stop", "submit", "sweep"}
)
_HANDLER = "peftbench.replace"
_PLAIN = {"–": "-", "—": "-", "─": "-", "│": "|", "…": "...", "×": "x", "±": "+-", "·": ".", "●": "*", "→": "->"}

_closed = False  # whether standard output was closed when the program began


def prepare() -> None:
    """Make sure that all three standard streams exist and can encode any text, replacing characters they lack.

    A closed stream (`>&-`) becomes the null device: otherwise a file opened later, such as the database, would get its
    file descriptor, and printed text would be written into it.
    """
    global _closed
    _closed = sys.stdout is None
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                if not _is_open(number):
                    os.open(os.devnull, os.O_RDWR)  # it gets the lowest free descriptor, which is this one
                setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    codecs.register_error(_HANDLER, _replaced)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout is sys.__stdout__:
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Watched(sys.stdout.fileno(), "wb", closefd=False)),
            encoding=sys.stdout.encoding,
            errors=_HANDLER,
            line_buffering=sys.stdout.line_buffering,
        )


class _Watched(io.FileIO):
    """Standard output that remembers a write error."""

    error: OSError | None = None

    def write(self, content: Any, /) -> int | None:  # type: ignore[override]
        """Write content, and record an error.

        Raises:
            OSError: the write failed.
        """
        try:
            return super().write(content)
        except OSError as error:
            self.error = error
            raise


def is_of_output(error: OSError) -> bool:
    """Return whether an error came from writing standard output."""
    return isinstance(error, BrokenPipeError) or error is _output_error()


def _output_error() -> OSError | None:
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, _Watched) else None


def finish(code: int, command: str | None) -> int:
    """Flush standard output and return the exit code: a failure, with an error message, if the output was lost.

    A closed pipe (`| head -1`) gives no message: the reader chose to stop.

    Args:
        code: the command's own exit code.
        command: name of the command.
    """
    reason = None
    if _closed:
        reason = None if command in _DO_MORE else "it is closed"
    else:
        with suppress(OSError):
            sys.stdout.flush()
        if (error := _output_error()) is not None:
            _discard_output()
            if isinstance(error, BrokenPipeError):
                return code or EXIT_FAILED
            reason = error.strerror or str(error)
    if reason is not None and code == 0:
        with suppress(OSError):
            print(f"error: standard output cannot be written: {reason}", file=sys.stderr)
        code = EXIT_FAILED
    with suppress(OSError):
        sys.stderr.flush()
    return code


def _discard_output() -> None:
    """Redirect standard output to the null device, so that buffered text is discarded when Python exits."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stdout.flush()


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Return the replacement for characters that the stream's encoding lacks (a codec error handler)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(character, "?") for character in error.object[error.start : error.end]), error.end
