"""Files that can be made again: written whole or not at all, and lost rather than in the way of a run."""

from __future__ import annotations

import tempfile
from pathlib import Path


def write_cache(path: Path, content: bytes) -> None:
    """Write to a temporary file first: a reader sees the whole file or none. A full disk costs only the cache."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
        temporary.replace(path)
    except OSError:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
