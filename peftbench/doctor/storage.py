"""Storage checks: the database's folder, file system and file, and the cache folder. All read-only."""

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
LEAST_FREE_GIB, ENOUGH_FREE_GIB = 0.2, 5.0  # checkpoints of a small run; a sweep of full fine-tuning of BERT-base
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
    """Return the path itself, or its nearest existing parent folder."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def writable(name: str, folder: Path, remedy: str, file: Path | None = None) -> Finding:
    """Check that a folder exists or can be created, and that files in it (`file`, if it exists) can be written."""
    there = existing(folder)
    if not there.is_dir():
        return fail(name, f"{folder}: {there} is a file, not a folder", remedy)
    if file is not None and file.is_dir():
        return fail(name, f"{file} is a folder, not a file", remedy)
    if not os.access(there, os.W_OK | os.X_OK):
        return fail(name, f"{there} cannot be written", remedy)
    if file is not None and file.exists() and not os.access(file, os.R_OK | os.W_OK):
        return fail(name, f"{file} cannot be read and written", remedy)
    return ok(name, str(folder) if there == folder.absolute() else f"{folder} (will be created)")


def system_under(database: Path, mountinfo: Path = MOUNTINFO) -> Finding:
    """Check the file system that contains the database, from the machine's mounts."""
    try:
        return system_finding(mounts.system_under(existing(database).resolve(), mountinfo))
    except OSError as error:
        return skip("file system", f"{mountinfo} cannot be read: {error.strerror}")


def system_finding(mount: tuple[str, os.PathLike[str]] | None) -> Finding:
    """Check a file system: SQLite must not be opened over a network."""
    name = "file system"
    if mount is None:
        return skip(name, "the mount that contains the database is not in this process's mount list")
    kind, point = mount
    where = f"{kind}, mounted at {point}"
    if kind in NETWORK:
        return fail(
            name,
            f"{where}: a network file system, on which SQLite's locks and shared memory are unreliable",
            "keep the database on a local disk, --db FILE or PEFTBENCH_DB, and copy it after the runs",
        )
    if kind in VOLATILE:
        return warn(name, f"{where}: an in-memory file system, lost at a restart", _OTHER)
    if kind == "overlay":
        return warn(name, f"{where}: part of a container, lost with it", "mount a volume, and use it with --db FILE")
    if kind.startswith("fuse"):
        return warn(name, f"{where}: its file locks depend on the FUSE program", _OTHER)
    return ok(name, where)


def disk_under(name: str, folder: Path, remedy: str) -> Finding:
    """Check the free space of a folder's file system."""
    usage = shutil.disk_usage(existing(folder))
    return disk_finding(name, usage.free / GIB, usage.total / GIB, remedy)


def disk_finding(name: str, free_gib: float, total_gib: float, remedy: str) -> Finding:
    """Check that checkpoints fit."""
    detail = f"{free_gib:.1f} of {total_gib:.1f} GiB free"
    if free_gib < LEAST_FREE_GIB:
        return fail(name, detail, f"free some, or {remedy}")
    if free_gib < ENOUGH_FREE_GIB:
        return warn(name, f"{detail}: a run of full fine-tuning keeps up to 2 GiB", f"free some, or {remedy}")
    return ok(name, detail)


def content(database: Path) -> Finding:
    """Check that the database is a peftbench one, of a known version, and intact. Not opened over a network."""
    from peftbench.store.health import LOOKED_FOR_S, look

    name = "database"
    if not existing(database.parent).is_dir() or database.is_dir():
        return skip(name, f"{database}: not a possible location for a database")
    if not database.exists():
        return ok(name, f"{database}: none yet; created by the first run")
    if system_under(database).state == "fail":
        return skip(name, f"{database}: not opened over a network file system")
    health = look(database)
    size = f"{health.size_mib:.1f} MiB"
    if health.trouble:
        return fail(
            name,
            f"{database} ({size}) is damaged: {health.trouble}",
            "keep a copy of it and its -wal file, try sqlite3 FILE .recover, and continue with another: --db FILE",
        )
    detail = f"{database} ({size}), schema {health.version}"
    if health.older:
        detail += ", older than this version's: the next run migrates it"
    if health.wal_mib > LARGE_WAL_MIB:
        return warn(
            name,
            f"{detail}, and {health.wal_mib:.0f} MiB in its -wal file: a program holds an old read transaction open",
            "end the programs that read it; the last one to close it checkpoints the WAL",
        )
    if not health.complete:
        return warn(
            name,
            f"{detail}; the integrity check took longer than {LOOKED_FOR_S:.0f} s and was aborted",
            "sqlite3 FILE 'PRAGMA quick_check'",
        )
    return ok(name, f"{detail}, intact")


def cache_here(folder: Path) -> Finding:
    """Check that the cache folder is writable and has free space."""
    name = "cache folder"
    finding = writable(name, folder, _OTHER_CACHE)
    if finding.state != "ok":
        return finding
    room = disk_under(name, folder, _OTHER_CACHE)
    return Finding(name, room.state, f"{finding.detail}, {room.detail}", room.remedy)
