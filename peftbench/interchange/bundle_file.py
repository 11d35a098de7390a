"""Reading a bundle that may be damaged or hostile: a zip of which nothing is believed until it has been read.

A bundle is exactly what `write_bundle` makes: a zip with nothing before, between or after its entries, no zip64, no
comment; entries that are plain files with names known in advance, rows deflated and weights as they are. The manifest
holds the size and SHA-256 of every other entry, and limits are counted on the bytes that come out.
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
from peftbench.store.schema import SCHEMA_VERSION
from peftbench.store.transfer import TABLES
from peftbench.tasks import Part
from peftbench.text import clean

MANIFEST = "manifest.json"
FORMAT, VERSION = "peftbench-bundle", 1
OLDEST_SCHEMA = 3  # of the database that a bundle was made from

MOST_ENTRIES = 256
LARGEST_BUNDLE = 2**31 - 1  # Python's zipfile writes more as zip64
LARGEST_MANIFEST = 2**20
LARGEST_TABLE = 2**28
LARGEST_ROW, MOST_ROWS = 2**23, 5_000_000
LARGEST_RATIO, RATIO_COUNTS_FROM = 200, 2**20  # of what comes out to what went in

_ROWS = re.compile(f"rows/({'|'.join(TABLES)})\\.jsonl")
_WEIGHTS = re.compile(r"weights/(epoch-[0-9]{1,6}(?:-[a-z][a-z0-9_-]{0,31})?\.safetensors)")
_END = struct.Struct("<4s4H2LH")  # the zip's last record
_LOCAL_HEADER = 30
_BLOCK = 2**16
_PACKED = "was it unpacked and packed again, or cut off on its way? Get it anew"


class Entry(Part):
    """What the manifest says of another entry."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class RunLabel(Part):
    """Whose bundle it is."""

    id: str = Field(pattern="^[a-z0-9]{8}$")
    name: str = Field(min_length=1, max_length=200)


class Manifest(Part):
    """What a bundle holds."""

    format: Literal["peftbench-bundle"]
    version: int
    made_by: str = Field(max_length=100)
    store: int = Field(description="schema of the database that the rows are from")
    run: RunLabel
    files: dict[str, Entry]


class BundleFile:
    """A bundle, opened once. Use it as a context.

    Raises:
        MissingError: the file is not there, or was made by a newer peftbench.
        DataError: it is no bundle, or is damaged; so may every later reading.
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
        """The entries that hold trained weights, by the names of their files."""
        found = ((_WEIGHTS.fullmatch(name), name) for name in sorted(self.manifest.files))
        return {match[1]: name for match, name in found if match}

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """Yield a table's rows, whose values are null, numbers and texts; that nothing was altered is known at the end.

        Raises:
            DataError: a row is none, or is larger than any row is; or as `copy`.
        """
        left, count = b"", 0
        for block in self._verified(f"rows/{table}.jsonl", LARGEST_TABLE):
            *lines, left = (left + block).split(b"\n")
            for line in lines:
                yield self._row(line, table)
            count += len(lines)
            if count > MOST_ROWS:
                raise self._bad(f"{table} has more than {MOST_ROWS} rows")
            if len(left) > LARGEST_ROW:
                raise self._bad(f"a row of {table} is larger than {LARGEST_ROW // 2**20} MiB")
        if left:
            raise self._bad(f"the last row of {table} has no end")

    def copy(self, name: str, file: IO[bytes]) -> None:
        """Copy an entry out.

        Raises:
            DataError: it is not what the manifest says; what was copied is to be thrown away.
        """
        for block in self._verified(name, LARGEST_BUNDLE):
            file.write(block)

    def _open(self) -> dict[str, zipfile.ZipInfo]:
        """Read the zip's directory, whose size is limited first, and see that its entries are what ours are."""
        self._size = self._file.seek(0, io.SEEK_END)
        self._check_end()
        try:
            self._zip = zipfile.ZipFile(self._file)
            listed = self._zip.infolist()
        except Exception as error:  # zipfile raises many kinds for what is damaged
            raise self._bad(f"its directory cannot be read: {clean(error, 120)}") from error
        entries: dict[str, zipfile.ZipInfo] = {}
        position = 0
        for info in listed:
            self._check_entry(info)
            if info.filename in entries:
                raise self._bad(f"it has two entries {clean(info.filename, 60)}")
            if info.header_offset != position:
                raise self._bad("its entries do not lie end to end")
            position += _LOCAL_HEADER + len(info.filename) + info.compress_size
            entries[info.filename] = info
        if position != self._zip.start_dir:
            raise self._bad("its entries do not lie end to end")
        return entries

    def _check_end(self) -> None:
        if not _END.size <= self._size <= LARGEST_BUNDLE:
            raise self._bad("it is no zip, or larger than 2 GiB")
        self._file.seek(max(0, self._size - _END.size - 20))
        tail = self._file.read()
        mark, disk, first_disk, here, count, length, start, comment = _END.unpack(tail[-_END.size :])
        if mark != b"PK\x05\x06" or disk or first_disk or comment or here != count:
            raise self._bad("it does not end as a zip of ours does")
        if tail[: -_END.size][-20:-16] == b"PK\x06\x07":
            raise self._bad("it is a zip64")
        if count > MOST_ENTRIES or length > MOST_ENTRIES * 256:
            raise self._bad(f"it has more than {MOST_ENTRIES} entries")
        if start + length + _END.size != self._size:
            raise self._bad("its directory is not where it should be")

    def _check_entry(self, info: zipfile.ZipInfo) -> None:
        name = clean(info.filename, 60)
        if info.filename != MANIFEST and not (_ROWS.fullmatch(info.filename) or _WEIGHTS.fullmatch(info.filename)):
            raise self._bad(f"it has an entry '{name}', which no bundle has")
        if info.orig_filename != info.filename or info.extra or info.comment or info.flag_bits:
            raise self._bad(f"{name} is not packed as ours are")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise self._bad(f"{name} is no plain file")
        stored = info.compress_type == zipfile.ZIP_STORED
        if not stored and (info.compress_type != zipfile.ZIP_DEFLATED or _WEIGHTS.fullmatch(info.filename)):
            raise self._bad(f"{name} is not packed as ours are")
        if stored and info.compress_size != info.file_size:
            raise self._bad(f"{name} is not packed as ours are")

    def _read_manifest(self) -> Manifest:
        if MANIFEST not in self._entries:
            raise self._bad(f"it has no {MANIFEST}")
        content = b"".join(self._blocks(MANIFEST, LARGEST_MANIFEST))
        tree = self._json(content, MANIFEST)
        version, schema = (tree.get(key) if isinstance(tree, dict) else None for key in ("version", "store"))
        if (isinstance(version, int) and version > VERSION) or (isinstance(schema, int) and schema > SCHEMA_VERSION):
            raise MissingError(f"bundle {self.path}: it was made by a newer peftbench", "upgrade peftbench")
        try:
            manifest = Manifest.model_validate(tree)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise self._bad(f"{MANIFEST}: {clean(place, 60)}: {clean(first['msg'], 120)}") from error
        if manifest.version != VERSION or manifest.store < OLDEST_SCHEMA:
            raise self._bad(f"{MANIFEST}: no peftbench made version {manifest.version} of store {manifest.store}")
        if clean(manifest.run.name) != manifest.run.name:
            raise self._bad(f"{MANIFEST}: the run's name has characters that cannot be printed")
        return manifest

    def _check_names(self) -> None:
        said = {MANIFEST, *self.manifest.files}
        if strange := sorted(said ^ self._entries.keys()):
            raise self._bad(f"its manifest and its entries disagree about {clean(strange[0], 60)}")
        for name, entry in self.manifest.files.items():
            if entry.bytes != self._entries[name].file_size:
                raise self._bad(f"{name} was altered: its manifest and its header disagree about its size")
        if absent := [table for table in TABLES if f"rows/{table}.jsonl" not in said]:
            raise self._bad(f"it has no rows/{absent[0]}.jsonl")

    def _verified(self, name: str, most: int) -> Iterator[bytes]:
        entry = self.manifest.files[name]
        digest, size = hashlib.sha256(), 0
        for block in self._blocks(name, min(most, entry.bytes)):
            digest.update(block)
            size += len(block)
            yield block
        if size != entry.bytes or digest.hexdigest() != entry.sha256:
            raise self._bad(f"{name} was altered: it is not what the manifest says")

    def _blocks(self, name: str, most: int) -> Iterator[bytes]:
        """Yield what comes out of an entry, which ends where it is more than it may be."""
        info, size = self._entries[name], 0
        try:
            with self._zip.open(info) as file:
                while block := file.read(_BLOCK):
                    size += len(block)
                    if size > most:
                        raise self._bad(f"{name} is larger than it may be ({most} bytes)")
                    if size > max(RATIO_COUNTS_FROM, LARGEST_RATIO * info.compress_size):
                        raise self._bad(f"{name} unpacks to more than {LARGEST_RATIO} times its size")
                    yield block
        except DataError:
            raise
        except Exception as error:  # zipfile and zlib raise many kinds for what is damaged
            raise self._bad(f"{name} cannot be unpacked: {clean(error, 120)}") from error

    def _row(self, line: bytes, table: str) -> dict[str, Any]:
        row = self._json(line, f"a row of {table}")
        if not isinstance(row, dict) or not all(type(v) in (str, int, float, type(None)) for v in row.values()):
            raise self._bad(f"a row of {table} is no table of plain values")
        return row

    def _json(self, content: bytes, what: str) -> Any:
        try:
            return json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise self._bad(f"{what} is no JSON: {clean(error, 120)}") from error

    def _bad(self, what: str) -> DataError:
        return DataError(f"bundle {self.path}: {what}", f"nothing was imported; {_PACKED}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")
