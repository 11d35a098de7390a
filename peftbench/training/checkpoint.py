"""Checkpoints: everything that a run needs to resume bit-identically, in files that are complete or not used.

    checkpoint-<n>.ckpt:  peftbench-snapshot 2 <spec hash> <run id> <bytes> <SHA-256 of the payload>\\n<payload>

Version 1 has no run id. Without a run id (`-`), a checkpoint may be of any run of its spec.

The payload is torch's own format with tensors and plain containers only: reading it runs no code.
"""

from __future__ import annotations

import hashlib
import io
import random
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import torch

from peftbench.renames import current_row
from peftbench.store.rows import Phase, Usage
from peftbench.text import clean
from peftbench.training.best import Best
from peftbench.training.files import (
    checkpoint_files,
    checkpoint_number,
    remove_checkpoints,
    remove_unfinished,
    write_whole,
)
from peftbench.training.weights import FileMark, damage

VERSION = 2
ANY_RUN = "-"
KEPT = 2  # the newest, and one before it in case that cannot be read

_VERSION = re.compile(rb"peftbench-snapshot (\d{1,9}) ")
_HEADERS = {
    1: re.compile(rb"peftbench-snapshot 1 ([0-9a-f]{64})(?P<run>) (\d{20}) ([0-9a-f]{64})\n"),
    2: re.compile(rb"peftbench-snapshot 2 ([0-9a-f]{64}) (?P<run>[A-Za-z0-9-]{1,64}) (\d{20}) ([0-9a-f]{64})\n"),
}
_HEADER_LIMIT = 512


class Position(NamedTuple):
    """Where training stands: the epoch, the number of tasks done in it, and the number of steps of the next task.

    With all tasks done, the epoch is trained and has to be evaluated.
    """

    epoch: int
    task: int
    step: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was read: its name without extension, and the state in it."""

    name: str
    state: dict[str, Any]

    @property
    def threads(self) -> int:
        """The number of torch's threads with which it was made."""
        return int(self.state["threads"])

    @property
    def energy_j(self) -> float | None:
        """The energy used until it was made; None where not known."""
        energy_j: float | None = self.state["energy_j"]
        return energy_j


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: the run's.
        spec_hash: whose they are.
        note: called with (kind, message) for files that cannot be read or written.
        minutes: between two checkpoints.
        run_id: the run's; None: any run's of the spec.
        epochs_stored: number of epochs of the run in the database; None: not checked.
    """

    def __init__(
        self,
        folder: Path,
        spec_hash: str,
        note: Callable[[str, str], None],
        minutes: float,
        run_id: str | None = None,
        epochs_stored: int | None = None,
    ) -> None:
        self.folder, self.spec_hash, self.note, self.minutes = folder, spec_hash, note, minutes
        self.run_id, self.epochs_stored = run_id or ANY_RUN, epochs_stored
        self._good: list[Path] = []  # read or written by this process, the newest last
        self._tried_at = time.monotonic()
        self._is_failing = False

    def newest(self) -> Checkpoint | None:
        """Return the newest usable checkpoint; note those that are not."""
        remove_unfinished(self.folder, "*.ckpt")
        remove_unfinished(self.folder, "epoch-*")
        paths = checkpoint_files(self.folder)
        for path in reversed(paths):
            try:
                state = _read(path, self.spec_hash, self.run_id)
                self._check(state)
            except (_Unusable, OSError) as error:
                self.note("resume", f"{path.name} is not used: {clean(error, 200)}")
                continue
            self._good = [path]
            return Checkpoint(path.stem, state)
        if paths:
            self.note("resume", "from the beginning: no checkpoint can be used")
        return None

    def _check(self, state: Mapping[str, Any]) -> None:
        """Check that what a checkpoint refers to exists: the epochs before it, the best weights.

        Raises:
            _Unusable: something is missing.
        """
        if self.epochs_stored is not None and (done := state["position"][0] - 1) > self.epochs_stored:
            raise _Unusable(f"the database has {self.epochs_stored} of the {done} epochs before it (is it a backup?)")
        marks = marks_from(state)
        for path in sorted(Best.from_state(state["best"]).files(self.folder)):
            if (wrong := damage(path, self.spec_hash, marks.get(path.name))) is not None:
                raise _Unusable(f"the best weights {path.name} are gone or not as they were: {wrong}")

    def is_due(self) -> bool:
        """Return whether the next one is due."""
        return time.monotonic() - self._tried_at >= 60 * self.minutes

    def write(self, state: Mapping[str, Any]) -> bool:
        """Write the next checkpoint, then delete all but the last two good ones; return whether it was written.

        A write error is noted once, and earlier checkpoints stay.
        """
        number = max(map(checkpoint_number, checkpoint_files(self.folder)), default=0) + 1
        path = self.folder / f"checkpoint-{number}.ckpt"
        try:
            write_whole(path, lambda file: _dump(state, self.spec_hash, file, self.run_id))
        except OSError as error:
            if not self._is_failing:
                self.note("checkpoint", f"{path.name} cannot be written: {clean(error, 200)}; training goes on")
            self._is_failing = True
            return False
        finally:
            self._tried_at = time.monotonic()
        self._is_failing = False
        self._good = [*self._good, path][-KEPT:]
        remove_checkpoints(self.folder, keep=self._good)
        return True


class _Unusable(Exception):
    """Why a file cannot be resumed from."""


def _read(path: Path, spec_hash: str, run_id: str = ANY_RUN) -> dict[str, Any]:
    """Return the state in a checkpoint.

    Raises:
        _Unusable: it is truncated, altered, of another version, spec or run, or not a checkpoint.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        line = file.readline(_HEADER_LIMIT)
        version = _VERSION.match(line)
        if version is not None and int(version[1]) not in _HEADERS:
            raise _Unusable(f"it has version {int(version[1])}, and this program reads versions up to {VERSION}")
        header = _HEADERS[int(version[1])].fullmatch(line) if version else None
        if header is None:
            raise _Unusable("it is not a checkpoint, or its header is damaged")
        owner, run, size, sha256 = (part.decode() for part in header.groups())
        if owner != spec_hash:
            raise _Unusable("it belongs to another spec")
        if run not in ("", ANY_RUN, run_id) and run_id != ANY_RUN:
            raise _Unusable(f"it belongs to another run ({run})")
        payload = file.read()
    if len(payload) != int(size):
        raise _Unusable(f"it has {len(payload)} bytes instead of {int(size)}")
    if hashlib.sha256(payload).hexdigest() != sha256:
        raise _Unusable("its content does not match its SHA-256")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds here
        raise _Unusable(f"torch cannot read it: {error}") from error
    return state


def _dump(state: Mapping[str, Any], spec_hash: str, file: IO[bytes], run_id: str = ANY_RUN) -> None:
    def header(size: int, sha256: str) -> bytes:
        return f"peftbench-snapshot {VERSION} {spec_hash} {run_id} {size:020d} {sha256}\n".encode()

    file.write(header(0, "0" * 64))  # a placeholder, rewritten below
    payload = _Payload(file)
    torch.save(dict(state), cast("IO[bytes]", payload))  # of which it only writes
    if payload.error is not None:
        raise payload.error
    file.seek(0)
    file.write(header(payload.size, payload.sha256.hexdigest()))


class _Payload:
    """A file-like object for torch.save that counts and hashes; a write error is kept until torch is done."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, part: bytes) -> int:
        """Write a part to the file."""
        self.sha256.update(part)
        if self.error is None:
            try:
                self.file.write(part)
            except OSError as error:
                self.error = error
        self.size += len(part)
        return len(part)

    def flush(self) -> None:
        """Do nothing: the file is synced once it is complete."""


def marks_state(marks: Mapping[str, FileMark], names: Collection[str]) -> dict[str, list[Any]]:
    """Return the marks of files by name, in plain containers."""
    return {name: [marks[name].size, marks[name].sha256] for name in names if name in marks}


def marks_from(state: Mapping[str, Any]) -> dict[str, FileMark]:
    """Return the marks of files in a checkpoint's state; none in one of an earlier version."""
    return {name: FileMark(*mark) for name, mark in state.get("files", {}).items()}


def phases_state(phases: list[Phase]) -> list[dict[str, Any]]:
    """Return phases in plain containers."""
    return [asdict(phase) for phase in phases]


def phases_from(state: list[dict[str, Any]]) -> list[Phase]:
    """Return the phases of a state that `phases_state` made, in this version or an earlier one."""
    rows = [current_row("phases", row) for row in state]
    return [Phase(**{**row, "usage": row["usage"] and Usage(**row["usage"])}) for row in rows]


def random_state() -> dict[str, Any]:
    """Return the state of every global generator: torch's, on the CPU and each GPU, Python's and numpy's."""
    kind, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
    }


def restore_random(state: Mapping[str, Any]) -> None:
    """Put every global generator back; those of GPUs where there are as many as there were."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_initialized() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
