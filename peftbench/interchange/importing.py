"""Taking a run from a bundle into a database: whole or not at all, and twice is once."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from peftbench.errors import DataError, RefusedError, StorageError
from peftbench.interchange.bundle import encoded, weight_names
from peftbench.interchange.bundle_file import BundleFile
from peftbench.interchange.judging import judge
from peftbench.paths import run_folder
from peftbench.store.rows import RunRecord
from peftbench.store.transfer import IMPORTED, TABLES, Row, RowImporter, RowReader
from peftbench.text import clean
from peftbench.training.files import sync_folder, write_whole

NOTHING = "nothing was imported"
_IGNORED = {"runs": {"name", "place"}}  # what may differ between two databases that have the same run


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a bundle: `known`: the run was there already; `weights`: the files that came in."""

    name: str
    run_id: str
    renamed_from: str | None
    known: bool
    rows: int
    weights: tuple[str, ...]

    def lines(self) -> list[str]:
        """Say it."""
        if self.known:
            said = [f"already there: {self.name} ({self.run_id}), with the same content"]
            return [*said, *(f"weights: {name} was missing, and is back" for name in self.weights)]
        renamed = [f"another run here is called {self.renamed_from}"] if self.renamed_from else []
        weights = [f"weights: {name}" for name in self.weights] or ["weights: none"]
        return [f"imported: {self.name} ({self.run_id}), {self.rows} rows", *renamed, *weights]


def take_bundle(path: Path, database: Path) -> Taken:
    """Import a bundle's run into a database.

    Raises:
        MissingError: the bundle is not there, or was made by a newer peftbench.
        DataError: it is damaged or altered, or holds what no peftbench stores. Nothing was imported.
        RefusedError: the database has a run of that id with other content.
        StorageError: the database cannot be written now.
    """
    with BundleFile(path) as bundle:
        _check_label(bundle)
        tables = {table: _digest(table, bundle.rows(table)) for table in TABLES}
        with RowReader(database) as reader:
            run = reader.get(bundle.manifest.run.id)
            if run is not None:
                _check_same(bundle, tables, reader, database)
        count = sum(table.rows for table in tables.values())
        if run is not None:
            return Taken(run.name, run.id, None, True, count, _complete(bundle, run_folder(database, run.id)))
        return _bring(bundle, database, count)


@dataclass(frozen=True, slots=True)
class _Table:
    """The content of a table's rows: its hash, how many they are, and their columns."""

    sha256: str
    rows: int
    columns: frozenset[str]


def _digest(table: str, rows: Iterable[Row], columns: frozenset[str] | None = None) -> _Table:
    """Read a table to its end. Where columns are given, the others (a newer database has more) do not count."""
    digest, count, found = hashlib.sha256(), 0, columns
    for row in rows:
        if table == "events" and row.get("kind") == IMPORTED:
            continue
        found = frozenset(row) if found is None else found
        content = {name: row[name] for name in sorted(row) if name in found - _IGNORED.get(table, set())}
        digest.update(encoded(content))
        count += 1
    return _Table(digest.hexdigest(), count, found or frozenset())


def _check_label(bundle: BundleFile) -> None:
    """See that the manifest's run is the one in the rows."""
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
                    f"bundle {bundle.path}: {database} has a run {run_id} already, with other {table}",
                    "it was left as it is; delete it first, or import into another database with --db FILE",
                )


def _complete(bundle: BundleFile, folder: Path) -> tuple[str, ...]:
    """Bring the files of weights that a known run has lost; return their names."""
    brought = []
    for name, entry in bundle.weights.items():
        path = folder / name
        if not path.exists():
            _write(bundle, entry, path)
            brought.append(name)
        elif _sha256(path) != bundle.manifest.files[entry].sha256:
            raise RefusedError(
                f"bundle {bundle.path}: {path} is there already, with other weights",
                "it was left as it is; delete the run first, or import into another database with --db FILE",
            )
    return tuple(brought)


def _bring(bundle: BundleFile, database: Path, count: int) -> Taken:
    label, folder = bundle.manifest.run, run_folder(database, bundle.manifest.run.id)
    with RowImporter(database) as importer, _staged(bundle, folder) as staging:
        made = not folder.exists()
        try:
            name = importer.put(
                label.id,
                {table: _Again(bundle, table) for table in TABLES},
                f"from a bundle made by {clean(bundle.manifest.made_by)}",
                partial(_judge, bundle),
                partial(_move_in, staging, folder),
            )
        except BaseException as error:
            if made:
                shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, DataError):
                raise DataError(f"bundle {bundle.path}: {error.message}", NOTHING) from error
            raise
    renamed = label.name if name != label.name else None
    return Taken(name, label.id, renamed, False, count, tuple(bundle.weights))


@dataclass(frozen=True, slots=True)
class _Again:
    """A table's rows, read from the bundle each time they are asked for."""

    bundle: BundleFile
    table: str

    def __iter__(self) -> Iterator[Row]:
        return self.bundle.rows(self.table)


def _judge(bundle: BundleFile, record: RunRecord) -> None:
    judge(record)
    if strange := sorted(bundle.weights.keys() - weight_names(record)):
        raise DataError(f"its file {strange[0]} is of no best epoch of the run")


@contextmanager
def _staged(bundle: BundleFile, folder: Path) -> Iterator[Path]:
    """Yield a folder beside the run's with the bundle's weights, all of them whole."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.", suffix=".tmp") as place:
            for name, entry in bundle.weights.items():
                _write(bundle, entry, Path(place) / name)
            yield Path(place)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}", "make room") from error


def _move_in(staging: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in staging.iterdir():
        path.replace(folder / path.name)
    sync_folder(folder)


def _write(bundle: BundleFile, entry: str, path: Path) -> None:
    write_whole(path, lambda file: bundle.copy(entry, file))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
