"""Read a bundle that may be damaged or malicious, verifying everything before use.

A bundle has exactly the form that `write_bundle` produces: a zip with nothing before, between or after its entries, no
zip64, no comment; entries are plain files with known names, rows deflated and weights stored. The manifest holds the
size and SHA-256 of every other entry, and limits apply to the decompressed bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from pydantic import Field, ValidationError

from peftbench.errors import DataError, MissingError
from peftbench.renames import current_row
from peftbench.store.rows import LONGEST_STORED_NAME
from peftbench.store.schema import SCHEMA_VERSION
from peftbench.store.transfer import TABLES
from peftbench.tasks import Part
from peftbench.text import clean

MANIFEST = "manifest.json"
FORMAT, VERSION = "peftbench-bundle", 1
OLDEST_SCHEMA = 3  # of the source database
RENAMED_SINCE = 6  # the schema from which rows have current names
_INTERIM, _INTERIM_SINCE = "interim_scores", 9  # a table, and the schema that added it

MOST_ENTRIES = 256
LARGEST_BUNDLE = 2**31 - 1  # Python's zipfile writes more as zip64
LARGEST_MANIFEST = 2**20
LARGEST_TABLE = 2**28
LARGEST_ROW, MOST_ROWS = 2**23, 5_000_000
LARGEST_RATIO, RATIO_COUNTS_FROM = 200, 2**20  # decompressed to compressed size; bytes from which it is checked

_ROWS = re.compile(f"rows/({'|'.join(TABLES)})\\.jsonl")
_WEIGHTS = re.compile(r"weights/(epoch-[0-9]{1,6}(?:-[a-z][a-z0-9_-]{0,31})?\.safetensors)")
_END = struct.Struct("<4s4H2LH")  # the zip's end-of-central-directory record
_LOCAL_HEADER = 30
_BLOCK = 2**16
_PACKED = "it may have been repacked, or truncated in transfer: copy it again"


class Entry(Part):
    """The manifest's record of another entry."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class RunLabel(Part):
    """The run of the bundle."""

    id: str = Field(pattern="^[a-z0-9]{8}$")
    name: str = Field(min_length=1, max_length=LONGEST_STORED_NAME)


class Manifest(Part):
    """The content of a bundle's manifest."""

    format: Literal["peftbench-bundle"]
    version: int
    made_by: str = Field(max_length=100)
    store: int = Field(description="schema version of the source database")
    run: RunLabel
    files: dict[str, Entry]


class BundleFile:
    """A bundle, opened once. Use it as a context manager.

    Raises:
        MissingError: the file does not exist, or was made by a newer peftbench.
        DataError: it is not a bundle, or is damaged; all other reads may raise this as well.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise MissingError(f"bundle {path}: {error.strerror or error}") from error
        try:
            self._entries = self._open()
            self.manifest = self._read_manifest()
            self._check_names()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def weights(self) -> dict[str, str]:
        """The entries with trained weights, by file name."""
        matches = ((_WEIGHTS.fullmatch(name), name) for name in sorted(self.manifest.files))
        return {match[1]: name for match, name in matches if match}

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """Yield a table's rows, with null, numbers and strings as values; the hash is verified only at the end.

        Raises:
            DataError: a row is malformed or exceeds the maximum size; or as for `copy`.
        """
        if f"rows/{table}.jsonl" not in self.manifest.files:
            return  # younger than the bundle: `_check_names`
        left, count = b"", 0
        for block in self._verified(f"rows/{table}.jsonl", LARGEST_TABLE):
            *lines, left = (left + block).split(b"\n")
            for line in lines:
                yield self._row(line, table)
            count += len(lines)
            if count > MOST_ROWS:
                raise self._error(f"{table} has more than {MOST_ROWS} rows")
            if len(left) > LARGEST_ROW:
                raise self._error(f"a row of {table} is larger than {LARGEST_ROW // 2**20} MiB")
        if left:
            raise self._error(f"the last row of {table} is incomplete")

    def copy(self, name: str, file: IO[bytes]) -> None:
        """Extract an entry.

        Raises:
            DataError: it does not match the manifest; the copied data must be discarded.
        """
        for block in self._verified(name, LARGEST_BUNDLE):
            file.write(block)

    def _open(self) -> dict[str, zipfile.ZipInfo]:
        """Read the zip's directory, after checking its size, and check that its entries have the expected form."""
        self._size = self._file.seek(0, io.SEEK_END)
        self._check_end()
        try:
            self._zip = zipfile.ZipFile(self._file)
            listed = self._zip.infolist()
        except Exception as error:  # zipfile raises many types for damaged files
            raise self._error(f"its directory cannot be read: {clean(error, 120)}") from error
        entries: dict[str, zipfile.ZipInfo] = {}
        position = 0
        for info in listed:
            self._check_entry(info)
            if info.filename in entries:
                raise self._error(f"duplicate entry {clean(info.filename, 60)}")
            if info.header_offset != position:
                raise self._error("its entries are not contiguous")
            position += _LOCAL_HEADER + len(info.filename) + info.compress_size
            entries[info.filename] = info
        if position != self._zip.start_dir:
            raise self._error("its entries are not contiguous")
        return entries

    def _check_end(self) -> None:
        if not _END.size <= self._size <= LARGEST_BUNDLE:
            raise self._error("it is not a zip, or larger than 2 GiB")
        self._file.seek(max(0, self._size - _END.size - 20))
        tail = self._file.read()
        mark, disk, first_disk, here, count, length, start, comment = _END.unpack(tail[-_END.size :])
        if mark != b"PK\x05\x06" or disk or first_disk or comment or here != count:
            raise self._error("its end record is not as peftbench writes it")
        if tail[: -_END.size][-20:-16] == b"PK\x06\x07":
            raise self._error("it is in zip64 format")
        if count > MOST_ENTRIES or length > MOST_ENTRIES * 256:
            raise self._error(f"it has more than {MOST_ENTRIES} entries")
        if start + length + _END.size != self._size:
            raise self._error("its directory is not at the expected offset")

    def _check_entry(self, info: zipfile.ZipInfo) -> None:
        name = clean(info.filename, 60)
        if info.filename != MANIFEST and not (_ROWS.fullmatch(info.filename) or _WEIGHTS.fullmatch(info.filename)):
            raise self._error(f"unexpected entry '{name}'")
        if info.orig_filename != info.filename or info.extra or info.comment or info.flag_bits:
            raise self._error(f"{name} is not stored as peftbench writes it")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise self._error(f"{name} is not a plain file")
        stored = info.compress_type == zipfile.ZIP_STORED
        if not stored and (info.compress_type != zipfile.ZIP_DEFLATED or _WEIGHTS.fullmatch(info.filename)):
            raise self._error(f"{name} is not stored as peftbench writes it")
        if stored and info.compress_size != info.file_size:
            raise self._error(f"{name} is not stored as peftbench writes it")

    def _read_manifest(self) -> Manifest:
        if MANIFEST not in self._entries:
            raise self._error(f"it has no {MANIFEST}")
        content = b"".join(self._blocks(MANIFEST, LARGEST_MANIFEST))
        tree = self._json(content, MANIFEST)
        version, schema = (tree.get(key) if isinstance(tree, dict) else None for key in ("version", "store"))
        if (isinstance(version, int) and version > VERSION) or (isinstance(schema, int) and schema > SCHEMA_VERSION):
            raise MissingError(f"bundle {self.path}: it was made by a newer version of peftbench", "upgrade peftbench")
        try:
            manifest = Manifest.model_validate(tree)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            location = ".".join(map(str, first["loc"]))
            raise self._error(f"{MANIFEST}: {clean(location, 60)}: {clean(first['msg'], 120)}") from error
        if manifest.version != VERSION or manifest.store < OLDEST_SCHEMA:
            raise self._error(f"{MANIFEST}: unknown version {manifest.version} or schema {manifest.store}")
        if clean(manifest.run.name) != manifest.run.name:
            raise self._error(f"{MANIFEST}: the run's name has unprintable characters")
        return manifest

    def _check_names(self) -> None:
        expected = {MANIFEST, *self.manifest.files}
        if strange := sorted(expected ^ self._entries.keys()):
            raise self._error(f"its manifest and its entries differ in {clean(strange[0], 60)}")
        for name, entry in self.manifest.files.items():
            if entry.bytes != self._entries[name].file_size:
                raise self._error(f"{name} was altered: its sizes in the manifest and the header differ")
        tables = TABLES if self.manifest.store >= _INTERIM_SINCE else [name for name in TABLES if name != _INTERIM]
        if absent := [table for table in tables if f"rows/{table}.jsonl" not in expected]:
            raise self._error(f"it has no rows/{absent[0]}.jsonl")

    def _verified(self, name: str, most: int) -> Iterator[bytes]:
        entry = self.manifest.files[name]
        digest, size = hashlib.sha256(), 0
        for block in self._blocks(name, min(most, entry.bytes)):
            digest.update(block)
            size += len(block)
            yield block
        if size != entry.bytes or digest.hexdigest() != entry.sha256:
            raise self._error(f"{name} was altered: it does not match the manifest")

    def _blocks(self, name: str, most: int) -> Iterator[bytes]:
        """Yield the decompressed blocks of an entry, raising if they exceed the limits."""
        info, size = self._entries[name], 0
        try:
            with self._zip.open(info) as file:
                while block := file.read(_BLOCK):
                    size += len(block)
                    if size > most:
                        raise self._error(f"{name} exceeds the maximum size ({most} bytes)")
                    if size > max(RATIO_COUNTS_FROM, LARGEST_RATIO * info.compress_size):
                        raise self._error(f"{name} unpacks to more than {LARGEST_RATIO} times its size")
                    yield block
        except DataError:
            raise
        except Exception as error:  # zipfile and zlib raise many types for damaged files
            raise self._error(f"{name} cannot be unpacked: {clean(error, 120)}") from error

    def _row(self, line: bytes, table: str) -> dict[str, Any]:
        row = self._json(line, f"a row of {table}")
        if not isinstance(row, dict) or not all(type(v) in (str, int, float, type(None)) for v in row.values()):
            raise self._error(f"a row of {table} is not an object of plain values")
        return current_row(table, row) if self.manifest.store < RENAMED_SINCE else row

    def _json(self, content: bytes, what: str) -> Any:
        try:
            return json.loads(
                content.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_reject_constant
            )
        except (ValueError, RecursionError) as error:
            raise self._error(f"{what} is not JSON: {clean(error, 120)}") from error

    def _error(self, what: str) -> DataError:
        return DataError(f"bundle {self.path}: {what}", f"nothing was imported; {_PACKED}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("duplicate key")
    return mapping


def _reject_constant(constant: str) -> float:
    raise ValueError(f"{constant} is not a number")
