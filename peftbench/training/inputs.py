"""Recorded hashes of a run's inputs (encoder, tokeniser, data, trained weights), verified when they are read again."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from peftbench.errors import ChangedError
from peftbench.store.conditions import Conditions
from peftbench.text import clean

if TYPE_CHECKING:
    from peftbench.encoder import EncoderFiles

# Conditions of a run that contain a SHA-256 of something it read or wrote.
ENCODER: Final = "encoder_sha256"
CONFIG: Final = "config_sha256"
TOKENIZER: Final = "tokenizer_sha256"
DATA: Final = "data_sha256"
WEIGHTS: Final = "weights_sha256"
INPUTS = (ENCODER, CONFIG, TOKENIZER, DATA, "augment")
_SHOWN = 16  # hex digits of a SHA-256 shown: enough to distinguish two files

PUT_BACK = "restore what the run was trained with, or use --anyway if you know that the change does not matter"


@dataclass(frozen=True, slots=True)
class RecordedInputs:
    """The hashes recorded with a run.

    What an earlier version did not record is not checked.

    Args:
        run: its name, for messages.
        conditions: the run's conditions.
        anyway: continue where something differs, with a warning on standard error.
        hint: advice for a difference.
    """

    run: str
    conditions: Conditions
    anyway: bool = False
    hint: str = PUT_BACK

    def check_encoder(self, files: EncoderFiles) -> None:
        """Compare an encoder's files with those recorded.

        Raises:
            ChangedError: weights, configuration or tokeniser differ.
        """
        for what, key, sha256 in (
            ("weights", ENCODER, files.weights_sha256),
            ("configuration", CONFIG, files.config_sha256),
            ("tokeniser", TOKENIZER, files.tokenizer_sha256),
        ):
            self._check(f"the {what} of encoder {clean(files.name)}", self.conditions.get(key), sha256, files.folder)

    def check_data(self, split: str, fingerprint: str) -> None:
        """Compare the examples of a split (`"TASK/SPLIT"`) with those recorded.

        Raises:
            ChangedError: they differ.
        """
        recorded = self.conditions.get(DATA) or {}
        self._check(f"the examples of {clean(split)}", recorded.get(split), fingerprint)

    def check_new_rows(self, task: str, fingerprint: str) -> None:
        """Compare a task's training rows, augmented ones included, with those recorded.

        Raises:
            ChangedError: they differ, from another dictionary or translation.
        """
        recorded = (self.conditions.get("augment") or {}).get("rows_sha256") or {}
        self._check(f"the augmented rows of {clean(task)}", recorded.get(task), fingerprint)

    def check_weights(self, path: Path) -> None:
        """Compare a file of trained weights with that recorded. A missing file is not checked here.

        Raises:
            ChangedError: its content differs.
        """
        recorded = (self.conditions.get(WEIGHTS) or {}).get(path.name)
        if recorded is not None and path.is_file():
            self._check(f"the trained weights {path.name}", recorded, file_sha256(path), path.parent)

    def _check(self, what: str, recorded: object, read: str, where: Path | None = None) -> None:
        if not recorded or recorded == read:
            return
        there = f" in {clean(where)}" if where is not None and str(where) not in what else ""
        message = (
            f"run {clean(self.run)}: {what}{there} changed since: SHA-256 {clean(recorded)[:_SHOWN]}... is recorded, "
            f"{read[:_SHOWN]}... was read"
        )
        if not self.anyway:
            raise ChangedError(message, self.hint)
        print(f"warning: {message}", file=sys.stderr)


def of_worker(run: str, conditions: Conditions) -> RecordedInputs:
    """Return the hashes recorded by an earlier worker of a run, for the worker that resumes it."""
    hint = (
        "restore what the run started with, then resume it; or start over with the current files: "
        f"peftbench retry {clean(run)}, or peftbench resume {clean(run)} --anyway"
    )
    return RecordedInputs(run, conditions, hint=hint)


UNRECORDED = RecordedInputs("", {})


def file_sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
