"""Where an export goes: a file or folder, there whole or not at all, and never in the place of something else."""

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
from peftbench.training.files import sync_folder, write_whole
from peftbench.version import __version__

MARK = "peftbench-export.json"  # in every exported folder: what it is, and that it is ours to replace


@contextmanager
def whole_folder(out: Path, force: bool, about: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a new folder to fill; it takes the name `out` once all of it is on the disk.

    Args:
        out: the folder; with `force` an earlier export may have the name, and goes.
        force: replace an earlier export.
        about: what the folder is, for its `peftbench-export.json`; may be added to while it is filled.

    Raises:
        UsageError: something else has the name.
        MissingError: it cannot be written.
    """
    check_folder(out, force)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=out.parent, prefix=f"{out.name}.", suffix=".tmp"))
    except OSError as error:
        raise MissingError(f"{out}: cannot be written: {error.strerror or error}", "choose another place") from error
    try:
        yield staging
        (staging / MARK).write_text(json.dumps({"made_by": f"peftbench {__version__}", **about}, indent=2) + "\n")
        _settle(staging)
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
            f"{out}: cannot be written: {error.strerror or error}", "make room, or choose another place"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def whole_file(out: Path, force: bool, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file, whole or not at all.

    Raises:
        UsageError: something has the name, and `force` is not given or it is no file.
        MissingError: it cannot be written.
    """
    if os.path.lexists(out) and not (force and out.is_file()):
        raise UsageError(f"{out} is there already", _instead(out.is_file()))
    try:
        write_whole(out, fill)
        out.chmod(0o666 & ~_umask())
    except OSError as error:
        raise MissingError(f"{out}: cannot be written: {error.strerror or error}", "choose another place") from error


def check_folder(out: Path, force: bool) -> None:
    """See that a folder may have the name `out`.

    Raises:
        UsageError: something has it, other than an empty folder or, with `force`, an earlier export.
    """
    if not os.path.lexists(out):
        return
    if out.is_dir() and not out.is_symlink():
        if not any(out.iterdir()):
            return
        if (out / MARK).is_file():
            if force:
                return
            raise UsageError(f"{out} holds an earlier export", _instead(True))
    raise UsageError(f"{out} is there already, and is no export of peftbench's", _instead(False))


def _instead(replaceable: bool) -> str:
    return "choose another name, or replace it with --force" if replaceable else "choose another name"


def _settle(folder: Path) -> None:
    """Give a folder and what is in it the permissions of what the user makes, and see all of it on the disk."""
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
