"""Errors meant for the user: each says what, with which value, what is allowed and what to do next.

A `PeftbenchError` reaches the terminal as one or two lines and an exit code, never as a traceback.
Anything else that is raised is a defect of the program and keeps its traceback (in the run's log).
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
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)  # of an OSError: a full disk, a quota


class PeftbenchError(Exception):
    """A run or command failed for a reason the user can read. Exit code 1."""

    exit_code = EXIT_FAILED

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(PeftbenchError):
    """A wrong command line, preset, workload or spec. Exit code 2."""

    exit_code = EXIT_USAGE


class MissingError(PeftbenchError):
    """Something needed is not there: data, a model, a run, a readable database. Exit code 3."""

    exit_code = EXIT_MISSING


class DataError(PeftbenchError):
    """A data file is there but cannot be used: a missing column, a label out of range. Exit code 3."""

    exit_code = EXIT_MISSING


class RefusedError(PeftbenchError):
    """A comparison that would mislead, or an import over something else, was refused. Exit code 4."""

    exit_code = EXIT_REFUSED


class TrainingError(PeftbenchError):
    """Training cannot go on (a loss that is not a number, say). Exit code 1."""


class StorageError(PeftbenchError):
    """The database cannot be written any more, the disk is full, say. Exit code 1."""


class Interrupted(PeftbenchError):
    """The run was asked to stop: Ctrl-C or SIGTERM. Exit code 130."""

    exit_code = EXIT_INTERRUPTED


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the nearest known word, or an empty string."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6) or [
        name for name in known if len(word) > 1 and name.startswith(word)
    ]
    return f"; did you mean '{near[0]}'?" if near else ""
