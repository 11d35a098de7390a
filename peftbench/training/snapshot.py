"""Snapshots: all that a run needs to go on to the bit where it stood, in files that are whole or not used.

    snapshot-<n>.ckpt:  peftbench-snapshot <version> <spec hash> <bytes> <SHA-256 of the payload>\\n<payload>

The payload is torch's own format, of tensors and plain containers alone: reading it runs no code.
"""

from __future__ import annotations

import hashlib
import io
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import torch

from peftbench.store.rows import Phase, Usage
from peftbench.text import clean
from peftbench.training.files import remove_snapshots, remove_unfinished, write_whole

VERSION = 1
KEPT = 2  # the newest, and one before it in case that cannot be read

_NAME = re.compile(r"snapshot-(\d{1,9})\.ckpt")
_HEADER = re.compile(rb"peftbench-snapshot (\d+) ([0-9a-f]{64}) (\d{20}) ([0-9a-f]{64})\n")
_HEADER_LIMIT = 512


class Position(NamedTuple):
    """Where training stands: in an epoch, so many tasks are done, and so many steps of the next one.

    With all tasks done the epoch is trained, and to be evaluated.
    """

    epoch: int
    task: int
    step: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that was read: its name without extension, and the state in it."""

    name: str
    state: dict[str, Any]


class Snapshots:
    """The snapshots of one run.

    Args:
        folder: the run's.
        spec_hash: whose they are.
        note: is told (kind, message) of what cannot be read or written.
        minutes: after which the next one is due.
    """

    def __init__(self, folder: Path, spec_hash: str, note: Callable[[str, str], None], minutes: float) -> None:
        self.folder, self.spec_hash, self.note, self.minutes = folder, spec_hash, note, minutes
        self._good: list[Path] = []  # read or written by this process, the newest last
        self._tried_at = time.monotonic()
        self._is_failing = False

    def newest(self) -> Snapshot | None:
        """Return the newest snapshot that can be used; tell of those that cannot."""
        remove_unfinished(self.folder, "snapshot-*")
        remove_unfinished(self.folder, "epoch-*")
        paths = _files(self.folder)
        for path in reversed(paths):
            try:
                found = Snapshot(path.stem, _read(path, self.spec_hash))
            except (_Unusable, OSError) as error:
                self.note("resume", f"{path.name} is not used: {clean(error, 200)}")
                continue
            self._good = [path]
            return found
        if paths:
            self.note("resume", "from the beginning: no snapshot can be used")
        return None

    def is_due(self) -> bool:
        """Tell whether it is time for the next one."""
        return time.monotonic() - self._tried_at >= 60 * self.minutes

    def write(self, state: Mapping[str, Any]) -> bool:
        """Write the next snapshot, then delete all but the last two good ones; return whether it is there.

        One that cannot be written is told once, and those before it stay.
        """
        number = max((_number(path) for path in _files(self.folder)), default=0) + 1
        path = self.folder / f"snapshot-{number}.ckpt"
        try:
            write_whole(path, lambda file: _dump(state, self.spec_hash, file))
        except OSError as error:
            if not self._is_failing:
                self.note("checkpoint", f"{path.name} cannot be written: {clean(error, 200)}; training goes on")
            self._is_failing = True
            return False
        finally:
            self._tried_at = time.monotonic()
        self._is_failing = False
        self._good = [*self._good, path][-KEPT:]
        remove_snapshots(self.folder, keep=self._good)
        return True


def _files(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("snapshot-*") if _NAME.fullmatch(path.name)), key=_number)


class _Unusable(Exception):
    """A file that is no snapshot to go on from, and why."""


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def _read(path: Path, spec_hash: str) -> dict[str, Any]:
    """Return the state in a snapshot.

    Raises:
        _Unusable: it is cut, altered, of another version or spec, or no snapshot at all.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        header = _HEADER.fullmatch(file.readline(_HEADER_LIMIT))
        if header is None:
            raise _Unusable("it is no snapshot, or its header is damaged")
        version, owner, size, sha256 = (part.decode() for part in header.groups())
        if int(version) != VERSION:
            raise _Unusable(f"it has version {version}, and this program reads version {VERSION}")
        if owner != spec_hash:
            raise _Unusable("it belongs to another spec")
        payload = file.read()
    if len(payload) != int(size):
        raise _Unusable(f"it has {len(payload)} bytes instead of {int(size)}")
    if hashlib.sha256(payload).hexdigest() != sha256:
        raise _Unusable("its content does not have its SHA-256")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds here
        raise _Unusable(f"torch cannot read it: {error}") from error
    return state


def _dump(state: Mapping[str, Any], spec_hash: str, file: IO[bytes]) -> None:
    def header(size: int, sha256: str) -> bytes:
        return f"peftbench-snapshot {VERSION} {spec_hash} {size:020d} {sha256}\n".encode()

    file.write(header(0, "0" * 64))  # its room
    payload = _Payload(file)
    torch.save(dict(state), cast("IO[bytes]", payload))  # of which it only writes
    if payload.error is not None:
        raise payload.error
    file.seek(0)
    file.write(header(payload.size, payload.sha256.hexdigest()))


class _Payload:
    """What torch writes to: counted and hashed on its way. An error waits, for torch's writer cannot be left so."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, part: bytes) -> int:
        """Pass a part on."""
        self.sha256.update(part)
        if self.error is None:
            try:
                self.file.write(part)
            except OSError as error:
                self.error = error
        self.size += len(part)
        return len(part)

    def flush(self) -> None:
        """Do nothing: the file is synced when it is whole."""


def phases_state(phases: list[Phase]) -> list[dict[str, Any]]:
    """Return phases in plain containers."""
    return [asdict(phase) for phase in phases]


def phases_from(state: list[dict[str, Any]]) -> list[Phase]:
    """Return what `phases_state` was made of."""
    return [Phase(**{**each, "usage": each["usage"] and Usage(**each["usage"])}) for each in state]


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
