"""Errors for the user: each message names the problem, the value, what is allowed and the next step.

A `PeftbenchError` is printed as one or two lines with an exit code, never as a traceback. Any other exception is a bug
and keeps its traceback (in the run's log).
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_MISSING = 3
EXIT_REFUSED = 4
EXIT_INTERRUPTED = 130
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)  # errno values of a full disk or an exceeded quota


class PeftbenchError(Exception):
    """A run or command failed for a known reason. Exit code 1."""

    exit_code = EXIT_FAILED

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(PeftbenchError):
    """An invalid command line, preset, workload or spec. Exit code 2."""

    exit_code = EXIT_USAGE


class MissingError(PeftbenchError):
    """A required resource is missing: data, a model, a run, a readable database. Exit code 3."""

    exit_code = EXIT_MISSING


class DataError(PeftbenchError):
    """A data file exists but is invalid: a missing column, a label out of range. Exit code 3."""

    exit_code = EXIT_MISSING


class RefusedError(PeftbenchError):
    """An operation was refused: a misleading comparison, or an import that would overwrite something. Exit code 4."""

    exit_code = EXIT_REFUSED


class ChangedError(RefusedError):
    """A file or data set differs from the one that a run was trained with. Exit code 4."""


class TrainingError(PeftbenchError):
    """Training cannot continue, for example because of a NaN loss. Exit code 1."""


class StorageError(PeftbenchError):
    """The database can no longer be written, for example because the disk is full. Exit code 1."""


class Interrupted(PeftbenchError):
    """The run was interrupted by Ctrl-C or SIGTERM. Exit code 130."""

    exit_code = EXIT_INTERRUPTED


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the nearest known word, or an empty string."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6) or [
        name for name in known if len(word) > 1 and name.startswith(word)
    ]
    return f"; did you mean '{near[0]}'?" if near else ""
