"""Cache files: written atomically, and dropped on write errors rather than failing the run."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

Buffer = bytes | memoryview

_MAGIC = b"peftbench cache 1\n"  # followed by the SHA-256 of the content, then the content


def write_cache(path: Path, content: bytes) -> None:
    """Write via a temporary file, so that readers see the complete file or none. Write errors are ignored."""
    _write(path, (content,))


def write_checked(path: Path, *parts: Buffer) -> None:
    """Write concatenated parts like `write_cache`, preceded by a checksum that `read_checked` verifies."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    _write(path, (_MAGIC, digest.digest(), *parts))


def read_checked(path: Path) -> bytes | None:
    """Return the content written by `write_checked`; None if the file is missing, unreadable or corrupt."""
    try:
        with path.open("rb") as file:
            begin = file.read(len(_MAGIC) + hashlib.sha256().digest_size)
            content = file.read()
    except OSError:
        return None
    return content if begin == _MAGIC + hashlib.sha256(content).digest() else None


def _write(path: Path, parts: tuple[Buffer, ...]) -> None:
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            for part in parts:
                file.write(part)
        temporary.replace(path)
    except OSError:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
