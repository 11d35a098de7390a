"""Where runs are kept: the database's folder, file system and file, and the cache. Nothing of them is changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from peftbench import mounts
from peftbench.doctor.findings import Check, Finding, fail, ok, skip, warn
from peftbench.doctor.options import Options
from peftbench.mounts import MOUNTINFO, NETWORK, VOLATILE

MIB, GIB = 2**20, 2**30
LEAST_FREE_GIB, ENOUGH_FREE_GIB = 0.2, 5.0  # a small run's checkpoints; a sweep of full fine-tuning of BERT-base
LARGE_WAL_MIB = 64.0
_OTHER = "choose another with --db FILE, or PEFTBENCH_DB"
_OTHER_CACHE = "choose another with PEFTBENCH_CACHE"


def checks(options: Options) -> Sequence[Check]:
    """Return the group's checks."""
    from peftbench.paths import cache_folder

    database = options.database
    return (
        Check("database folder", partial(writable, "database folder", database.parent, _OTHER, database)),
        Check("file system", partial(system_under, database)),
        Check("disk", partial(disk_under, "disk", database.parent, _OTHER)),
        Check("database", partial(content, database)),
        Check("cache folder", lambda: cache_here(cache_folder())),
    )


def existing(path: Path) -> Path:
    """Return the path itself, or the nearest folder above it that is there."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def writable(name: str, folder: Path, remedy: str, file: Path | None = None) -> Finding:
    """See that a folder is there or can be made, and that files (`file`, where it is there) in it can be written."""
    there = existing(folder)
    if not there.is_dir():
        return fail(name, f"{folder}: {there} is a file, not a folder", remedy)
    if file is not None and file.is_dir():
        return fail(name, f"{file} is a folder, not a file", remedy)
    if not os.access(there, os.W_OK | os.X_OK):
        return fail(name, f"{there} cannot be written", remedy)
    if file is not None and file.exists() and not os.access(file, os.R_OK | os.W_OK):
        return fail(name, f"{file} cannot be read and written", remedy)
    return ok(name, str(folder) if there == folder.absolute() else f"{folder} (will be made)")


def system_under(database: Path, mountinfo: Path = MOUNTINFO) -> Finding:
    """Read the machine's mounts and judge the one under the database."""
    try:
        return system_finding(mounts.system_under(existing(database).resolve(), mountinfo))
    except OSError as error:
        return skip("file system", f"{mountinfo} cannot be read: {error.strerror}")


def system_finding(found: tuple[str, os.PathLike[str]] | None) -> Finding:
    """Judge a file system: SQLite is never to be opened over a network."""
    name = "file system"
    if found is None:
        return skip(name, "the mount under the database is not among this process's mounts")
    kind, point = found
    where = f"{kind}, mounted at {point}"
    if kind in NETWORK:
        return fail(
            name,
            f"{where}: a network file system, over which SQLite's locks and shared memory cannot be trusted",
            "keep the database on a local disk, --db FILE or PEFTBENCH_DB, and copy it when runs have ended",
        )
    if kind in VOLATILE:
        return warn(name, f"{where}: it lies in memory and is gone after a restart", _OTHER)
    if kind == "overlay":
        return warn(name, f"{where}: a container's own, gone with it", "mount a volume, and give it with --db FILE")
    if kind.startswith("fuse"):
        return warn(name, f"{where}: whether its locks hold is its program's affair", _OTHER)
    return ok(name, where)


def disk_under(name: str, folder: Path, remedy: str) -> Finding:
    """Read the free space under a folder and judge it."""
    usage = shutil.disk_usage(existing(folder))
    return disk_finding(name, usage.free / GIB, usage.total / GIB, remedy)


def disk_finding(name: str, free_gib: float, total_gib: float, remedy: str) -> Finding:
    """See that checkpoints fit."""
    found = f"{free_gib:.1f} of {total_gib:.1f} GiB free"
    if free_gib < LEAST_FREE_GIB:
        return fail(name, found, f"free some, or {remedy}")
    if free_gib < ENOUGH_FREE_GIB:
        return warn(name, f"{found}: a run of full fine-tuning keeps up to 2 GiB", f"free some, or {remedy}")
    return ok(name, found)


def content(database: Path) -> Finding:
    """See that the database is ours, of a version that is known, and sound. One over a network is not opened."""
    from peftbench.store.health import LOOKED_FOR_S, look

    name = "database"
    if not existing(database.parent).is_dir() or database.is_dir():
        return skip(name, f"{database}: there can be none in this place")
    if not database.exists():
        return ok(name, f"{database}: none yet; the first run makes it")
    if system_under(database).state == "fail":
        return skip(name, f"{database}: not opened over a network file system")
    health = look(database)
    size = f"{health.size_mib:.1f} MiB"
    if health.trouble:
        return fail(
            name,
            f"{database} ({size}) is damaged: {health.trouble}",
            "keep a copy of it and of its -wal file, try sqlite3 FILE .recover, and go on with another: --db FILE",
        )
    found = f"{database} ({size}), schema {health.version}"
    if health.older:
        found += ", older than this peftbench's: the next run brings it up to date"
    if health.wal_mib > LARGE_WAL_MIB:
        return warn(
            name,
            f"{found}, and {health.wal_mib:.0f} MiB in its -wal file: something holds an old reading open",
            "end the programs that read it; the last one to close it folds the file in",
        )
    if not health.complete:
        return warn(
            name,
            f"{found}; looking through it took longer than {LOOKED_FOR_S:.0f} s and was left",
            "sqlite3 FILE 'PRAGMA quick_check'",
        )
    return ok(name, f"{found}, sound")


def cache_here(folder: Path) -> Finding:
    """See that the cache folder can be written and has room."""
    name = "cache folder"
    found = writable(name, folder, _OTHER_CACHE)
    if found.state != "ok":
        return found
    room = disk_under(name, folder, _OTHER_CACHE)
    return Finding(name, room.state, f"{found.detail}, {room.detail}", room.remedy)
