"""Write a bundle: a zip with a run's rows as JSON lines, its trained weights, and the hash of each file.

    manifest.json                format, run, and size and SHA-256 of all files below
    rows/TABLE.jsonl             one row per line, as stored
    weights/epoch-N....safetensors

The output is deterministic: the same run gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from peftbench.errors import MissingError, UsageError
from peftbench.interchange.bundle_file import FORMAT, LARGEST_BUNDLE, LARGEST_MANIFEST, LARGEST_TABLE, MANIFEST, VERSION
from peftbench.store.rows import ACTIVE_STATES, LONGEST_STORED_NAME, Run, RunRecord
from peftbench.store.schema import SCHEMA_VERSION
from peftbench.store.transfer import Row, Rows
from peftbench.text import clean
from peftbench.training.files import weights_name
from peftbench.version import __version__

_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every entry: timestamps are not content
_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class Written:
    """Content of a bundle: number of rows by table, size of each weight file; `absent` files no longer exist."""

    rows: dict[str, int]
    weights: dict[str, int]
    absent: tuple[str, ...]
    manifest_sha256: str

    def lines(self) -> list[str]:
        """Return a summary for display."""
        return [
            f"rows: {sum(self.rows.values())}",
            *(f"weights: {name} ({size / 2**20:.1f} MiB)" for name, size in self.weights.items()),
            *(f"weights: {name} no longer exists" for name in self.absent),
            *([] if self.weights or self.absent else ["weights: none"]),
            f"SHA-256 of the manifest: {self.manifest_sha256}",
        ]


def write_bundle(record: RunRecord, rows: Rows, folder: Path | None, file: IO[bytes]) -> Written:
    """Write a run as a bundle.

    Args:
        record: the run.
        rows: of every table.
        folder: the run's folder with its trained weights; None: without weights.
        file: the output; must be seekable.

    Raises:
        UsageError: the run has not ended, or is too large for a bundle.
        MissingError: the run is from a database that peftbench did not write.
    """
    run = record.run
    if run.state in ACTIVE_STATES:
        raise UsageError(f"run {run.name} ({run.id}) is {run.state}", f"wait for it, or: peftbench stop {run.name}")
    if not 0 < len(run.name) <= LONGEST_STORED_NAME:
        raise UsageError(
            f"run {clean(run.name, 40)} ({run.id}) has a name of {len(run.name):,} characters; a bundle"
            f" allows 1 to {LONGEST_STORED_NAME:,}"
        )
    weights = weight_names(record)
    there = [name for name in weights if folder is not None and (folder / name).is_file()]
    files: dict[str, dict[str, Any]] = {}
    counts: dict[str, int] = {}
    try:
        with zipfile.ZipFile(file, "w", allowZip64=False) as archive:
            for table, given in rows.items():
                name = f"rows/{table}.jsonl"
                files[name], counts[table] = _add(archive, name, _lines(given), LARGEST_TABLE)
            for kept in there:
                assert folder is not None
                name = f"weights/{kept}"
                files[name], _ = _add(archive, name, _blocks(folder / kept), LARGEST_BUNDLE)
            manifest = json.dumps(_manifest(run, files), indent=1).encode()
            _add(archive, MANIFEST, iter([manifest]), LARGEST_MANIFEST)
    except zipfile.LargeZipFile as error:
        raise _too_large("a bundle") from error
    absent = tuple(name for name in weights if name not in there) if folder is not None else ()
    sizes = {name: int(files[f"weights/{name}"]["bytes"]) for name in there}
    return Written(counts, sizes, absent, hashlib.sha256(manifest).hexdigest())


def _manifest(run: Run, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "made_by": f"peftbench {__version__}",
        "store": SCHEMA_VERSION,
        "run": {"id": run.id, "name": run.name},
        "files": files,
    }


def weight_names(record: RunRecord) -> list[str]:
    """Return the weight files that a run keeps: of its overall best epoch, and of each task's best epoch."""
    best = [] if record.run.best_epoch is None else [weights_name(record.run.best_epoch)]
    return [*best, *(weights_name(row.epoch, row.task) for row in record.task_bests)]


def encoded(row: Row) -> bytes:
    """Encode a row as a JSON line; infinity, which JSON lacks, becomes an overflowing number."""
    pairs = (f"{json.dumps(key)}:{_value(value)}" for key, value in row.items())
    return f"{{{','.join(pairs)}}}\n".encode()


def _value(value: Any) -> str:
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    return json.dumps(value)


def _lines(rows: Iterable[Row]) -> Iterator[bytes]:
    for row in rows:
        yield encoded(row)


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
    except OSError as error:
        raise MissingError(f"the trained weights {path} cannot be read: {error.strerror or error}") from error


def _add(archive: zipfile.ZipFile, name: str, parts: Iterator[bytes], most: int) -> tuple[dict[str, Any], int]:
    """Add an entry; return its size and hash, and the number of its parts."""
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_STORED if name.startswith("weights/") else zipfile.ZIP_DEFLATED
    info.external_attr = 0o100644 << 16
    digest, size, count = hashlib.sha256(), 0, 0
    with archive.open(info, "w") as entry:
        for part in parts:
            digest.update(part)
            size, count = size + len(part), count + 1
            if size > most:
                raise _too_large(name)
            entry.write(part)
    return {"bytes": size, "sha256": digest.hexdigest()}, count


def _too_large(what: str) -> UsageError:
    return UsageError(f"{what} would exceed the maximum size (2 GiB; a table 256 MiB)", "try --no-weights")
