"""Storage: mounts from constructed mountinfo, impossible folders, and database files of every kind."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path, PurePath

import pytest

from peftbench.doctor import storage
from peftbench.mounts import file_system
from peftbench.store import health
from peftbench.store.connection import open_for_writing
from peftbench.store.schema import APPLICATION_ID, SCHEMA_VERSION

MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
28 27 0:25 / /home rw,nosuid shared:7 master:2 - nfs4 server:/export/home rw,vers=4.2
29 28 0:26 / /home/me/local rw - xfs /dev/sdb1 rw
30 27 0:27 / /mnt/with\\040blank rw - fuse.sshfs me@there: rw
31 27 0:28 / /twice rw - ext4 /dev/sdc rw
32 31 0:29 / /twice rw - tmpfs tmpfs rw
33 27 0:30 / /homely rw - btrfs /dev/sdd rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "kind", "state"),
    [
        ("/var/lib/x.db", "ext4", "ok"),
        ("/home/you/x.db", "nfs4", "fail"),
        ("/home", "nfs4", "fail"),
        ("/home/me/local/deep/x.db", "xfs", "ok"),
        ("/homely/x.db", "btrfs", "ok"),
        ("/mnt/with blank/x.db", "fuse.sshfs", "fail"),
        ("/twice/x.db", "tmpfs", "warn"),
    ],
)
def test_the_longest_mount_point_decides_and_the_last_of_two(path: str, kind: str, state: str) -> None:
    found = file_system(MOUNTS, PurePath(path))
    assert found is not None
    assert found[0] == kind
    assert storage.system_finding(found).state == state


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        *(
            (kind, "fail")
            for kind in ("nfs", "nfs4", "cifs", "smb3", "9p", "lustre", "ceph", "virtiofs", "fuse.rclone")
        ),
        ("overlay", "warn"),
        ("fuse.mergerfs", "warn"),
        ("fuseblk", "warn"),
        ("ramfs", "warn"),
        ("zfs", "ok"),
    ],
)
def test_kinds_of_file_systems(kind: str, state: str) -> None:
    found = storage.system_finding((kind, PurePath("/x")))
    assert found.state == state
    if state == "fail":
        assert found.remedy is not None
        assert "--db FILE" in found.remedy


def test_mounts_that_cannot_be_told_are_skipped(tmp_path: Path) -> None:
    assert storage.system_finding(file_system("", PurePath("/x"))).state == "skip"
    assert storage.system_under(tmp_path / "x.db", tmp_path / "no-mountinfo").state == "skip"


def test_a_link_is_followed_to_the_file_system_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / {(tmp_path / 'far').resolve()} rw - nfs b rw\n")
    assert storage.system_under(tmp_path / "link" / "new" / "x.db", mounts).state == "fail"
    assert storage.system_under(tmp_path / "x.db", mounts).state == "ok"


def test_a_folder_below_a_file_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "deep" / "x.db"
    found = storage.writable("f", below.parent, "another", below)
    assert (found.state, found.remedy) == ("fail", "another")
    assert f"{tmp_path / 'file'} is a file, not a folder" in found.detail
    assert storage.content(below).state == "skip"
    assert storage.writable("f", tmp_path, "another", tmp_path).state == "fail"  # the database is a folder


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert storage.writable("f", tmp_path, "another").state == "fail"


def test_a_new_folder_will_be_made_and_is_not_made_now(tmp_path: Path) -> None:
    found = storage.writable("f", tmp_path / "a" / "b", "another")
    assert (found.state, found.detail) == ("ok", f"{tmp_path / 'a' / 'b'} (will be created)")
    assert storage.content(tmp_path / "a" / "x.db").detail.endswith("none yet; created by the first run")
    assert storage.cache_here(tmp_path / "a" / "c").state in ("ok", "warn", "fail")  # depends on the disk here
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("free", "state"), [(50.0, "ok"), (3.0, "warn"), (0.1, "fail")])
def test_room_on_the_disk(free: float, state: str) -> None:
    assert storage.disk_finding("disk", free, 100.0, "another").state == state


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    open_for_writing(path).close()
    return path


def test_a_sound_database_is_ok_and_stays_as_it_is(database: Path) -> None:
    before = database.read_bytes()
    found = storage.content(database)
    assert (found.state, f"schema {SCHEMA_VERSION}, intact" in found.detail) == ("ok", True)
    assert database.read_bytes() == before


def test_an_older_database_is_named_and_not_migrated(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    found = storage.content(database)
    assert (found.state, "schema 1, older" in found.detail) == ("ok", True)
    assert health.look(database).version == 1


def changed(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_databases_that_are_not_ours_fail_through_their_error(database: Path, tmp_path: Path) -> None:
    from peftbench.doctor import Check, checked

    changed(database, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    stranger, text = tmp_path / "stranger.db", tmp_path / "text.db"
    changed(stranger, "CREATE TABLE t (x)")
    text.write_text("certainly no database " * 100)
    for path, says in ((database, "newer peftbench"), (stranger, "another program's"), (text, "not a database")):
        found = checked(Check("database", lambda path=path: storage.content(path)))
        assert (found.state, says in found.detail, found.remedy is not None) == ("fail", True, True), found.detail


def test_a_damaged_database_fails_with_sqlites_words(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
    rows = f"{count} SELECT hex(randomblob(50)) FROM n"
    changed(
        path,
        "CREATE TABLE t (x)",
        f"INSERT INTO t {rows}",
        f"PRAGMA application_id = {APPLICATION_ID}",
        f"PRAGMA user_version = {SCHEMA_VERSION}",
    )
    assert storage.content(path).state == "ok"
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 2)
    found = storage.content(path)
    assert (found.state, "damaged" in found.detail) == ("fail", True)
    assert found.remedy is not None
    assert ".recover" in found.remedy


def test_a_large_wal_and_a_look_that_took_too_long(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "LARGE_WAL_MIB", -1.0)
    assert storage.content(database).state == "warn"
    monkeypatch.setattr(storage, "LARGE_WAL_MIB", 64.0)
    monkeypatch.setattr(health, "LOOKED_FOR_S", -1.0)
    monkeypatch.setattr(health, "_STEPS", 1)
    found = storage.content(database)
    assert (found.state, "was aborted" in found.detail) == ("warn", True)


def test_a_database_over_a_network_is_not_opened(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("1 0 0:1 / / rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(storage.system_under, "__defaults__", (mounts,))
    monkeypatch.setattr(health, "look", lambda path: pytest.fail("it was opened"))
    assert storage.content(database).state == "skip"
