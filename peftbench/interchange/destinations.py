"""Output files and folders of exports: written atomically, never overwriting unrelated files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from peftbench.errors import MissingError, UsageError
from peftbench.training.files import sync_folder, what_helps, write_whole
from peftbench.version import __version__

MARK = "peftbench-export.json"  # in every exported folder: its content, and that peftbench may replace it


@contextmanager
def whole_folder(out: Path, force: bool, about: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a new folder to fill; it is renamed to `out` once its content is flushed to disk.

    Args:
        out: the folder; with `force`, an earlier export of that name is deleted.
        force: replace an earlier export.
        about: description for the folder's `peftbench-export.json`; entries may be added while the folder is filled.

    Raises:
        UsageError: `out` exists and is not replaceable.
        MissingError: it cannot be written.
    """
    check_folder(out, force)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=out.parent, prefix=f"{out.name}.", suffix=".tmp"))
    except OSError as error:
        raise MissingError(f"{out}: cannot be written: {error.strerror or error}", "choose another location") from error
    try:
        yield staging
        (staging / MARK).write_text(json.dumps({"made_by": f"peftbench {__version__}", **about}, indent=2) + "\n")
        _finalise(staging)
        if os.path.lexists(out):
            old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f"{out.name}.", suffix=".old"))
            out.rename(old / "old")
            staging.rename(out)
            shutil.rmtree(old)
        else:
            staging.rename(out)
        sync_folder(out.parent)
    except OSError as error:
        raise MissingError(
            f"{out}: cannot be written: {error.strerror or error}", f"{what_helps(error)}, or choose another location"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def whole_file(out: Path, force: bool, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file atomically.

    Raises:
        UsageError: `out` exists, and `force` is not given or it is not a file.
        MissingError: it cannot be written.
    """
    if os.path.lexists(out) and not (force and out.is_file()):
        raise UsageError(f"{out} already exists", _export_hint(out.is_file()))
    try:
        write_whole(out, fill)
        out.chmod(0o666 & ~_umask())
    except OSError as error:
        raise MissingError(f"{out}: cannot be written: {error.strerror or error}", "choose another location") from error


def check_folder(out: Path, force: bool) -> None:
    """Check that a folder `out` may be written.

    Raises:
        UsageError: it exists, and is neither an empty folder nor, with `force`, an earlier export.
    """
    if not os.path.lexists(out):
        return
    if out.is_dir() and not out.is_symlink():
        if not any(out.iterdir()):
            return
        if (out / MARK).is_file():
            if force:
                return
            raise UsageError(f"{out} contains an earlier export", _export_hint(True))
    raise UsageError(f"{out} already exists, and is not a peftbench export", _export_hint(False))


def _export_hint(replaceable: bool) -> str:
    return "choose another name, or replace it with --force" if replaceable else "choose another name"


def _finalise(folder: Path) -> None:
    """Apply the user's default permissions to a folder and its content, and flush them to disk (fsync)."""
    mask = _umask()
    for path in sorted(folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    folder.chmod(0o777 & ~mask)
    sync_folder(folder)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
