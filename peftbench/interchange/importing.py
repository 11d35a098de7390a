"""Import a run from a bundle into a database, atomically and idempotently."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from peftbench.errors import DataError, RefusedError, StorageError
from peftbench.interchange.bundle import encoded, weight_names
from peftbench.interchange.bundle_file import BundleFile
from peftbench.interchange.validate import judge
from peftbench.paths import new_run_folder, run_folder
from peftbench.store.ownership import claim
from peftbench.store.rows import RunRecord
from peftbench.store.transfer import IMPORTED, TABLES, Row, RowImporter, RowReader
from peftbench.text import clean
from peftbench.training.files import sync_folder, what_helps, write_whole
from peftbench.training.inputs import WEIGHTS

NOTHING = "nothing was imported"
MOST_BYTES, ROOM_FOR_NAMES = 8, 2**20  # bytes per weight in a file, and bytes allowed for everything else
_IGNORED = {
    "runs": {"name", "queue_position", "tags", "note"}
}  # columns that may differ between databases with the same run


@dataclass(frozen=True, slots=True)
class Taken:
    """Result of an import. `known`: the run already existed; `weights`: the imported files."""

    name: str
    run_id: str
    renamed_from: str | None
    known: bool
    rows: int
    weights: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return a summary for display."""
        if self.known:
            summary = [f"already imported: {self.name} ({self.run_id}), with the same content"]
            return [*summary, *(f"weights: {name} was missing, and was restored" for name in self.weights)]
        renamed = [f"renamed: another run is named {self.renamed_from}"] if self.renamed_from else []
        weights = [f"weights: {name}" for name in self.weights] or ["weights: none"]
        return [f"imported: {self.name} ({self.run_id}), {self.rows} rows", *renamed, *weights]


def take_bundle(path: Path, database: Path) -> Taken:
    """Import a bundle's run into a database.

    Raises:
        MissingError: the bundle does not exist, or was made by a newer version of peftbench.
        DataError: it is damaged or altered, or has content that peftbench never stores. Nothing was imported.
        RefusedError: the database has a run with that id and other content.
        StorageError: the database cannot be written.
    """
    with BundleFile(path) as bundle:
        _check_label(bundle)
        tables = {table: _digest(table, bundle.rows(table)) for table in TABLES}
        with RowReader(database) as reader:
            run = reader.get(bundle.manifest.run.id)
            if run is not None:
                _check_same(bundle, tables, reader, database)
                known = reader.record(run)
        count = sum(table.rows for table in tables.values())
        if run is not None:
            return Taken(
                run.name, run.id, None, True, count, _restore_weights(bundle, known, run_folder(database, run.id))
            )
        return _import_run(bundle, database, count)


@dataclass(frozen=True, slots=True)
class _Table:
    """Digest of a table: the hash of its rows, their number and their columns."""

    sha256: str
    rows: int
    columns: frozenset[str]


def _digest(table: str, rows: Iterable[Row], columns: frozenset[str] | None = None) -> _Table:
    """Compute the digest of a table. If columns are given, others (of a newer database) are ignored."""
    digest, count, used_columns = hashlib.sha256(), 0, columns
    for row in rows:
        if table == "events" and row.get("kind") == IMPORTED:
            continue
        used_columns = frozenset(row) if used_columns is None else used_columns
        content = {name: row[name] for name in sorted(row) if name in used_columns - _IGNORED.get(table, set())}
        digest.update(encoded(content))
        count += 1
    return _Table(digest.hexdigest(), count, used_columns or frozenset())


def _check_label(bundle: BundleFile) -> None:
    """Check that the manifest and the rows are of the same run."""
    label = bundle.manifest.run
    for row in bundle.rows("runs"):
        if (row.get("id"), row.get("name")) != (label.id, label.name):
            raise DataError(f"bundle {bundle.path}: its manifest and its rows are of different runs", NOTHING)


def _check_same(bundle: BundleFile, tables: Mapping[str, _Table], reader: RowReader, database: Path) -> None:
    run_id = bundle.manifest.run.id
    with reader.rows(run_id) as rows:
        for table, given in tables.items():
            if _digest(table, rows[table], given.columns).sha256 != given.sha256:
                raise RefusedError(
                    f"bundle {bundle.path}: {database} already has a run {run_id}, with other {table}",
                    "it was not changed; delete it first, or import into another database with --db FILE",
                )


def _restore_weights(bundle: BundleFile, record: RunRecord, folder: Path) -> tuple[str, ...]:
    """Restore missing weight files of an existing run; return their names."""
    brought = []
    try:
        _check_weights(bundle, record)
    except DataError as error:
        raise DataError(f"bundle {bundle.path}: {error.message}", NOTHING) from error
    for name, entry in bundle.weights.items():
        path = folder / name
        if not path.exists():
            _write(bundle, entry, path)
            brought.append(name)
        elif _sha256(path) != bundle.manifest.files[entry].sha256:
            raise RefusedError(
                f"bundle {bundle.path}: {path} already exists, with other weights",
                "it was not changed; delete the run first, or import into another database with --db FILE",
            )
    return tuple(brought)


def _import_run(bundle: BundleFile, database: Path, count: int) -> Taken:
    label, folder = bundle.manifest.run, new_run_folder(database, bundle.manifest.run.id)
    with RowImporter(database) as importer, _staged(bundle, folder) as staging:
        made = not folder.exists()
        try:
            name = importer.put(
                label.id,
                {table: _BundleRows(bundle, table) for table in TABLES},
                f"from a bundle made by {clean(bundle.manifest.made_by)}",
                partial(_validate, bundle),
                partial(_move_weights, staging, folder),
            )
        except BaseException as error:
            if made:
                shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, DataError):
                raise DataError(f"bundle {bundle.path}: {error.message}", NOTHING) from error
            raise
    with suppress(OSError):  # the folder stays without its marker file
        claim(database)
    renamed = label.name if name != label.name else None
    return Taken(name, label.id, renamed, False, count, tuple(bundle.weights))


@dataclass(frozen=True, slots=True)
class _BundleRows:
    """A re-iterable table: its rows are read from the bundle on each iteration."""

    bundle: BundleFile
    table: str

    def __iter__(self) -> Iterator[Row]:
        return self.bundle.rows(self.table)


def _validate(bundle: BundleFile, record: RunRecord) -> None:
    judge(record)
    _check_weights(bundle, record)


def _check_weights(bundle: BundleFile, record: RunRecord) -> None:
    """Check that a bundle's weight files belong to the run's best epochs with valid hashes and sizes.

    Raises:
        DataError: a file does not.
    """
    if strange := sorted(bundle.weights.keys() - weight_names(record)):
        raise DataError(f"its file {strange[0]} does not belong to a best epoch of the run")
    recorded = record.run.conditions.get(WEIGHTS) or {}
    most = None if record.run.weights_total is None else MOST_BYTES * record.run.weights_total + ROOM_FOR_NAMES
    for name, entry in bundle.weights.items():
        file = bundle.manifest.files[entry]
        if file.sha256 != recorded.get(name, file.sha256):
            raise DataError(f"its file {name} differs from what the run wrote")
        if most is not None and file.bytes > most:
            raise DataError(f"its file {name} has {file.bytes:,} bytes; the run's can have at most {most:,}")


@contextmanager
def _staged(bundle: BundleFile, folder: Path) -> Iterator[Path]:
    """Yield a temporary folder next to the run's, with the bundle's verified weights."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.", suffix=".tmp") as staging:
            for name, entry in bundle.weights.items():
                _write(bundle, entry, Path(staging) / name)
            yield Path(staging)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}", what_helps(error)) from error


def _move_weights(staging: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in staging.iterdir():
        path.replace(folder / path.name)
    sync_folder(folder)


def _write(bundle: BundleFile, entry: str, path: Path) -> None:
    write_whole(path, lambda file: bundle.copy(entry, file))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
