"""Read a text file as physical lines, detecting compression and encoding from its first bytes."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePath
from typing import Protocol

from peftbench.errors import DataError, MissingError
from peftbench.text import clean

COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
_CHUNK = 1 << 20  # bytes
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz"}
_MARKS = (  # the longest first: the UTF-32 mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MARK = "\ufeff"


def suffix_of(path: PurePath) -> str:
    """Return a file's extension in lower case, ignoring a compression suffix: `.csv` for `rows.CSV.gz`."""
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return inner.suffix.lower()


class Stream(Protocol):
    """A source of bytes: a file, a decompressor, standard input."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, fewer at the end."""

    def close(self) -> None:
        """Close the stream."""


class TextLines:
    """Decoded physical lines of a text file or stream, with their line ends; read once, a megabyte at a time.

    Lines end at a line feed, or at a carriage return if the first chunk of the file has no line feed. A byte order
    mark selects UTF-8, UTF-16 or UTF-32; without one the text must be UTF-8.

    Raises (while reading):
        MissingError: the file cannot be read.
        DataError: it cannot be decompressed or decoded.
    """

    def __init__(self, stream: Stream, where: str, compression: str | None = None) -> None:
        self._stream = stream
        self._where = where
        self.compression = compression
        first = self._read()
        self.encoding, mark = next(((name, mark) for mark, name in _MARKS if first.startswith(mark)), ("utf-8", b""))
        self._first = first[len(mark) :]
        if not mark and self._first[:1024].count(0) * 4 > len(self._first[:1024]):
            raise DataError(f"{where}: looks like UTF-16 without a byte order mark", "save the file as UTF-8")

    @classmethod
    def of(cls, path: Path) -> TextLines:
        """Open a file, decompressing it according to its magic bytes."""
        try:
            with path.open("rb") as file:
                head = file.read(8)
            compression = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
            return cls(_opened(path, compression), clean(path, 300), compression)
        except OSError as error:
            raise MissingError(f"{clean(path, 300)}: cannot be read: {error.strerror or clean(error)}") from error

    def __iter__(self) -> Iterator[str]:
        end = None
        tail: list[str] = []
        for text in self._decoded():
            if end is None:
                text = text.lstrip(_MARK)  # a second byte order mark
                end = "\r" if "\r" in text and "\n" not in text else "\n"
            *complete, rest = text.split(end)
            if complete:
                yield "".join((*tail, complete[0], end))
                for line in complete[1:]:
                    yield line + end
                tail = []
            tail.append(rest)
        if last := "".join(tail):
            yield last

    def _decoded(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder(self.encoding)()
        chunk, lines = self._first, 0
        with closing(self._stream):
            while True:
                try:
                    text = decoder.decode(chunk, final=not chunk)
                except UnicodeDecodeError as error:
                    lines += error.object[: error.start].decode(self.encoding, "replace").count("\n")
                    raise DataError(
                        f"{self._where}, line {lines + 1}: not {self.encoding.upper()} "
                        f"(byte 0x{error.object[error.start]:02x})",
                        "save the file as UTF-8",
                    ) from error
                lines += text.count("\n")
                if text:
                    yield text
                if not chunk:
                    return
                chunk = self._read()

    def _read(self) -> bytes:
        try:
            return self._stream.read(_CHUNK)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if self.compression is not None:
                message = f"{self._where}: not readable as {self.compression}: {clean(error, 200)}"
                raise DataError(message, "check that the file is complete") from error
            if isinstance(error, OSError):
                raise MissingError(f"{self._where}: cannot be read: {error.strerror or clean(error)}") from error
            raise


def _opened(path: Path, compression: str | None) -> Stream:
    if compression == "zstd":
        import pyarrow

        stream: Stream = pyarrow.input_stream(str(path), compression="zstd")
        return stream
    if compression == "gzip":
        return gzip.open(path, "rb")
    if compression == "bz2":
        return bz2.open(path, "rb")
    if compression == "xz":
        return lzma.open(path, "rb")
    return path.open("rb")
