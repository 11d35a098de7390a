"""Bundles: a run is imported completely and only once; anything else is rejected."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import sqlite3
import struct
import warnings
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peftbench.errors import DataError, MissingError, PeftbenchError, RefusedError, UsageError
from peftbench.interchange import bundle_file
from peftbench.interchange.bundle_file import BundleFile
from peftbench.interchange.importing import take_bundle
from peftbench.paths import run_folder
from peftbench.spec import Resolved, resolve
from peftbench.store.connection import open_for_writing
from peftbench.store.transfer import TABLES
from peftbench.store.writer import Writer
from tests.interchange.runs import Forger, bundle_of, everything, record_of, stored_run
from tests.store.life import Life
from tests.tiny import TASKS, tiny_overrides

ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e"


@pytest.fixture(scope="module")
def resolved() -> Resolved:
    return resolve("lora-r12", overrides=tiny_overrides(Path("/nowhere")))


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, resolved: Resolved) -> tuple[Path, str]:
    """A database and the run in it."""
    database = tmp_path_factory.mktemp("origin") / "origin.db"
    return database, stored_run(database, resolved)


@pytest.fixture(scope="module")
def bundle(origin: tuple[Path, str]) -> Path:
    return bundle_of(*origin, origin[0].with_name("run.zip"))


@pytest.fixture
def forger(bundle: Path, tmp_path: Path) -> Forger:
    return Forger(bundle, tmp_path)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without runs, which every rejected bundle must leave empty."""
    database = tmp_path_factory.mktemp("empty") / "empty.db"
    open_for_writing(database).close()
    return database


def refused(bundle: Path, database: Path, said: str, error: type[PeftbenchError] = DataError) -> None:
    before = everything(database)
    with pytest.raises(error, match=said) as caught:
        take_bundle(bundle, database)
    assert everything(database) == before
    assert all(ord(letter) >= 32 and letter != "\u202e" for letter in caught.value.message)


def test_a_run_arrives_as_it_left(origin: tuple[Path, str], bundle: Path, tmp_path: Path) -> None:
    database, run_id = origin
    taken = take_bundle(bundle, tmp_path / "other.db")
    assert (taken.name, taken.run_id, taken.known) == ("forged-1", run_id, False)
    left, came = record_of(database, run_id), record_of(tmp_path / "other.db", run_id)
    *events, last = came.events
    assert (last.kind, last.message.split(" made by")[0]) == ("import", "from a bundle")
    assert dataclasses.replace(came, events=tuple(sorted(events, key=lambda e: e.sequence))) == dataclasses.replace(
        left,
        run=dataclasses.replace(left.run, queue_position=None),
        events=tuple(sorted(left.events, key=lambda e: e.sequence)),
    )
    folders = [run_folder(place, run_id) for place in (database, tmp_path / "other.db")]
    for name in ("epoch-2.safetensors", "epoch-2-sst.safetensors"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    assert not list(folders[1].parent.glob("*.tmp"))


@pytest.mark.parametrize("length", [200, 201, 500, 600, 10_000])
def test_a_long_name_that_an_earlier_version_took_arrives_whole(
    length: int, resolved: Resolved, tmp_path: Path
) -> None:
    origin, database = tmp_path / "origin.db", tmp_path / "other.db"
    run_id = stored_run(origin, resolved)
    name = "ä" * length
    renamed(origin, name)
    taken = take_bundle(bundle_of(origin, run_id, tmp_path / "long.zip"), database)
    assert taken.name == name
    assert record_of(database, run_id).run.name == name


def test_a_name_that_no_bundle_takes_is_refused_where_it_is_written(resolved: Resolved, tmp_path: Path) -> None:
    origin = tmp_path / "origin.db"
    run_id = stored_run(origin, resolved)
    renamed(origin, "a" * 10_001)
    with pytest.raises(UsageError, match="10,001 characters"):
        bundle_of(origin, run_id, tmp_path / "long.zip")


def renamed(database: Path, name: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE runs SET name = ?", (name,))


def test_a_bundle_of_before_there_were_groups_arrives(forger: Forger, tmp_path: Path) -> None:
    def without(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            del row["cluster"]

    taken = take_bundle(forger.rows("predictions", without), tmp_path / "other.db")
    record = record_of(tmp_path / "other.db", taken.run_id)
    assert {row.cluster for rows in record.predictions.values() for row in rows} == {None}
    assert {task: len(rows) for task, rows in record.predictions.items()} == dict.fromkeys(TASKS, 4)


def test_a_run_that_failed_before_its_first_epoch_arrives_too(resolved: Resolved, tmp_path: Path) -> None:
    life, spec = Life(tmp_path / "a.db"), resolved.spec
    hashes = {"spec_hash": spec.hash(), "group_hash": spec.group_hash()}
    run_id = life.create_run(spec_json=spec.canonical_json(), origins={}, **hashes)
    life.finish(run_id, "failed", "no such file", 3)
    life.close()
    bundle_of(tmp_path / "a.db", run_id, tmp_path / "run.zip")
    take_bundle(tmp_path / "run.zip", tmp_path / "b.db")
    run = record_of(tmp_path / "b.db", run_id).run
    assert (run.state, run.reason, run.exit_code, run.best_epoch) == ("failed", "no such file", 3, None)


def test_every_table_that_belongs_to_a_run_is_in_a_bundle(origin: tuple[Path, str]) -> None:
    """A table that a later migration adds has to be added to `TABLES` too."""
    connection = sqlite3.connect(origin[0])
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    of_runs = {t for t in tables if any(row[1] == "run_id" for row in connection.execute(f"PRAGMA table_info({t})"))}
    connection.close()
    assert of_runs - {"progress", "run_changes", "prediction_sets"} == set(TABLES) - {"runs", "predictions"}


def test_a_second_import_changes_nothing(bundle: Path, tmp_path: Path) -> None:
    database = tmp_path / "other.db"
    take_bundle(bundle, database)
    before = everything(database)
    assert take_bundle(bundle, database).known
    assert everything(database) == before


def test_an_imported_run_leaves_again_as_the_same_run(origin: tuple[Path, str], bundle: Path, tmp_path: Path) -> None:
    database, run_id = origin
    take_bundle(bundle, tmp_path / "other.db")
    again = bundle_of(tmp_path / "other.db", run_id, tmp_path / "again.zip")
    assert take_bundle(again, database).known
    assert take_bundle(bundle, database).known
    third = take_bundle(again, tmp_path / "third.db")
    assert not third.known


def test_the_same_run_gives_the_same_bytes(origin: tuple[Path, str], bundle: Path, tmp_path: Path) -> None:
    assert bundle_of(*origin, tmp_path / "again.zip").read_bytes() == bundle.read_bytes()


def test_lost_weights_come_back_and_others_are_not_overwritten(bundle: Path, tmp_path: Path) -> None:
    database = tmp_path / "other.db"
    run_id = take_bundle(bundle, database).run_id
    path = run_folder(database, run_id) / "epoch-2.safetensors"
    content = path.read_bytes()
    path.unlink()
    assert take_bundle(bundle, database).weights == ("epoch-2.safetensors",)
    assert path.read_bytes() == content
    path.write_bytes(b"mine")
    refused(bundle, database, "with other weights", RefusedError)


def test_another_run_under_the_same_id_is_left_as_it_is(bundle: Path, forger: Forger, tmp_path: Path) -> None:
    database = tmp_path / "other.db"
    take_bundle(bundle, database)
    refused(forger.set("scores", value=0.99), database, "with other scores", RefusedError)
    refused(forger.rows("predictions", lambda rows: rows[:-1]), database, "with other predictions", RefusedError)
    assert RefusedError("").exit_code == 4


def test_a_name_that_is_taken_gets_a_number(resolved: Resolved, bundle: Path, tmp_path: Path) -> None:
    database = tmp_path / "other.db"
    stored_run(database, resolved, "forged-1")
    stored_run(database, resolved, "forged-1-2")
    taken = take_bundle(bundle, database)
    assert (taken.name, taken.renamed_from) == ("forged-1-3", "forged-1")
    assert take_bundle(bundle, database).known


def test_a_run_that_goes_on_is_not_exported(resolved: Resolved, tmp_path: Path) -> None:
    run_id = stored_run(tmp_path / "a.db", resolved)
    with Writer(tmp_path / "a.db") as writer:
        assert writer.back_to_queue(record_of(tmp_path / "a.db", run_id).run, "again", first=True, by_itself=False)
    with pytest.raises(UsageError, match="is queued"):
        bundle_of(tmp_path / "a.db", run_id, tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def content_of(path: Path) -> dict[str, Any]:
    """Everything that an import would read from a bundle."""
    with BundleFile(path) as bundle:
        found: dict[str, Any] = {table: list(bundle.rows(table)) for table in TABLES}
        for name, entry in bundle.weights.items():
            copied = io.BytesIO()
            bundle.copy(entry, copied)
            found[name] = copied.getvalue()
        found["label"] = bundle.manifest.run
    return found


def test_no_part_of_a_bundle_is_a_bundle(bundle: Path, tmp_path: Path) -> None:
    whole = bundle.read_bytes()
    path = tmp_path / "cut.zip"
    for length in [*range(0, len(whole), 61), *range(len(whole) - 60, len(whole))]:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            content_of(path)


@pytest.mark.slow
def test_a_flipped_byte_is_noticed_or_without_effect(bundle: Path, tmp_path: Path) -> None:
    whole = bundle.read_bytes()
    meant, path, noticed = content_of(bundle), tmp_path / "flipped.zip", 0
    for place in range(0, len(whole), 11):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 + place % 255)]) + whole[place + 1 :])
        try:
            assert content_of(path) == meant, place
        except (DataError, MissingError):
            noticed += 1
    assert noticed > 0.8 * len(whole) / 11  # times and versions of the zip's entries are not content


@settings(max_examples=150)
@given(data=st.data())
def test_several_changes_at_once_are_noticed_too(data: st.DataObject, bundle: Path) -> None:
    whole = bytearray(bundle.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(whole) - 1))
        part = data.draw(st.binary(max_size=30))
        whole[start : start + data.draw(st.integers(0, 30))] = part
    path = bundle.with_name("changed.zip")
    path.write_bytes(whole)
    with contextlib.suppress(DataError, MissingError):
        assert content_of(path) == content_of(bundle)


@settings(max_examples=60)
@given(content=st.binary(max_size=300))
def test_any_other_file_is_refused(content: bytes, bundle: Path) -> None:
    path = bundle.with_name("any.zip")
    path.write_bytes(content)
    with pytest.raises(DataError):
        content_of(path)


@pytest.mark.parametrize(
    "name",
    [
        *("../x", "/etc/x", "rows/../../x", "weights/../epoch-1.safetensors", "weights/epoch-1.safetensors/"),
        *("weights/", "rows\\runs.jsonl", "weights/epoch-1-../x.safetensors", "C:\\x", "x" * 300),
        *("rows/sqlite_schema.jsonl", "rows/progress.jsonl", f"weights/{ESCAPE}.safetensors", "weights/worker.log"),
    ],
)
def test_no_entry_has_a_name_of_its_own(name: str, forger: Forger, empty: Path) -> None:
    refused(
        forger.files({name: b"x"}),
        empty,
        "unexpected entry|differ in|stored as peftbench|directory|duplicate entry|not contiguous",
    )


def test_an_entry_that_the_manifest_names_twice_over_or_not_at_all(forger: Forger, empty: Path) -> None:
    entries = list(forger.contents.items())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, of the duplicate
        refused(forger.zip([*entries, ("rows/runs.jsonl", b"")]), empty, "duplicate entry rows/runs.jsonl")
    refused(forger.zip([*entries, ("weights/epoch-1.safetensors", b"")]), empty, "differ in weights/epoch-1")
    refused(forger.zip([e for e in entries if e[0] != "rows/runs.jsonl"]), empty, "differ in rows/runs.jsonl")
    refused(forger.zip([e for e in entries if e[0] != "manifest.json"]), empty, "it has no manifest.json")
    refused(forger.files({"rows/events.jsonl": None}), empty, "it has no rows/events.jsonl")


def symlink(info: zipfile.ZipInfo) -> None:
    info.external_attr = 0o120777 << 16


def extra(info: zipfile.ZipInfo) -> None:
    info.extra = b"\x99\x99\x00\x00"


def commented(info: zipfile.ZipInfo) -> None:
    info.comment = b"hello"


def lzma(info: zipfile.ZipInfo) -> None:
    info.compress_type = zipfile.ZIP_LZMA


@pytest.mark.parametrize(
    ("tweak", "said"),
    [
        (symlink, "not a plain file"),
        (extra, "stored as peftbench"),
        (commented, "stored as peftbench"),
        (lzma, "stored as peftbench"),
    ],
)
def test_entries_are_plain_files_as_we_pack_them(
    tweak: Callable[[zipfile.ZipInfo], object], said: str, forger: Forger, empty: Path
) -> None:
    refused(forger.zip(list(forger.contents.items()), tweak), empty, said)


def test_nothing_lies_before_or_after_the_entries(bundle: Path, empty: Path, tmp_path: Path) -> None:
    whole, path = bundle.read_bytes(), tmp_path / "padded.zip"
    for padded in (b"#!/bin/sh\n" + whole, whole + b"x", whole[:-2] + b"\x05\x00hello"):
        path.write_bytes(padded)
        refused(path, empty, "end|directory is not at")
    path.write_bytes(whole[:-22] + b"PK\x06\x07" + bytes(16) + whole[-22:])
    refused(path, empty, "zip64")
    path.write_bytes(whole[:-22] + whole[-22:-12] + struct.pack("<LL", 2**31 - 1, 0) + whole[-4:])
    refused(path, empty, "directory|entries|end")


def test_more_entries_than_any_bundle_has(forger: Forger, empty: Path) -> None:
    many = {f"weights/epoch-{n}.safetensors": b"" for n in range(bundle_file.MOST_ENTRIES)}
    refused(forger.files(many), empty, "more than 256 entries")


def test_what_unpacks_to_far_more_than_it_is(forger: Forger, empty: Path) -> None:
    row = b'{"sequence":1,"at":"' + b" " * 2**20 + b'","kind":"data","message":"m"}\n'
    refused(forger.files({"rows/events.jsonl": row * 4}), empty, "more than 200 times its size")
    refused(forger.files({"rows/events.jsonl": b"\n" * 2**22}), empty, "not JSON|200 times")


def test_a_size_that_is_only_claimed_is_not_believed(forger: Forger, empty: Path, bundle: Path, tmp_path: Path) -> None:
    """Sizes in the zip's headers and in the manifest, changed separately and together."""
    manifest = json.loads(forger.contents["manifest.json"])
    for size in (0, 10, 2**40):
        manifest["files"]["rows/scores.jsonl"]["bytes"] = size
        entries = [*forger.contents.items()][:-1]
        refused(forger.zip([*entries, ("manifest.json", json.dumps(manifest).encode())]), empty, "larger than|altered")
    with zipfile.ZipFile(bundle) as archive:
        info = archive.getinfo("rows/scores.jsonl")
    whole, path = bundle.read_bytes(), tmp_path / "sizes.zip"
    sizes = struct.pack("<LL", info.compress_size, info.file_size)
    for size in (0, 1, info.file_size - 1, info.file_size + 1, 2**31):
        path.write_bytes(whole.replace(sizes, struct.pack("<LL", info.compress_size, size)))
        refused(path, empty, "cannot be unpacked|altered|directory|stored as peftbench")
        path.write_bytes(whole.replace(sizes, struct.pack("<LL", size, info.file_size)))
        refused(path, empty, "not contiguous|directory|cannot be unpacked")


@pytest.mark.parametrize(
    "manifest",
    [
        *(b"", b"[]", b"null", b"{", b"[" * 10**6, b'{"a":' * 10**5, b'{"format": NaN}', b"\xff\xfe", b"1" * 5000),
        b'{"format":"peftbench-bundle","format":"peftbench-bundle"}',
    ],
)  # fmt: skip
def test_a_manifest_that_is_none(manifest: bytes, forger: Forger, empty: Path) -> None:
    entries = [*forger.contents.items()][:-1]
    refused(forger.zip([*entries, ("manifest.json", manifest)]), empty, "manifest.json|unpacks to more")


def test_what_the_manifest_says_is_checked(forger: Forger, empty: Path) -> None:
    refused(forger.files(version=2), empty, "newer version of peftbench", MissingError)
    refused(forger.files(store=99), empty, "newer version of peftbench", MissingError)
    refused(forger.files(store=2), empty, "unknown version")
    refused(forger.files(format="zip"), empty, "manifest.json: format")
    refused(forger.files(more=1), empty, "manifest.json: more")
    refused(forger.files(run={"id": "../../..", "name": "x"}), empty, "manifest.json: run.id")
    refused(forger.files(run={"id": "abcdefgh", "name": "x"}), empty, "of different runs")
    refused(forger.files(run={"id": "abcdefgh", "name": ESCAPE}), empty, "unprintable")


@pytest.mark.parametrize(
    "line",
    [
        *(b"[1]", b"nonsense", b"[" * 10**5, b'{"epoch": {"a": 1}}', b'{"epoch": [1]}', b'{"epoch": true}'),
        *(b'{"epoch": NaN}', b'{"epoch": 1, "epoch": 2}', b'{"epoch": ' + b"9" * 5000 + b"}", b"{}", b""),
        *(b'{"epoch": 1}', b'{"run_id": "x", "epoch": 1}', b'{"\\ud800": 1}', b'{"epoch) VALUES (1); --": 1}'),
    ],
)
def test_rows_that_are_none(line: bytes, forger: Forger, empty: Path) -> None:
    refused(forger.files({"rows/task_bests.jsonl": line + b"\n"}), empty, "task_bests|none that peftbench stores")


def test_a_row_without_an_end_and_one_without_end(forger: Forger, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(forger.files({"rows/losses.jsonl": b'{"step": 1}'}), empty, "is incomplete")
    monkeypatch.setattr(bundle_file, "LARGEST_ROW", 1000)
    refused(forger.files({"rows/losses.jsonl": b'{"step": "' + b"x" * 10**5}), empty, "a row of losses is larger")
    monkeypatch.setattr(bundle_file, "MOST_ROWS", 100)
    refused(forger.files({"rows/losses.jsonl": b"{}\n" * 101}), empty, "losses has more than 100 rows")


@pytest.mark.parametrize(
    ("table", "values", "said"),
    [
        ("runs", {"state": "running"}, "it is running"),
        ("runs", {"state": "owned"}, "its rows are invalid"),
        ("runs", {"seed": 2**70}, "its rows are invalid"),
        ("runs", {"seed": 1}, "its seed does not match its spec"),
        ("runs", {"seed": "zero"}, "its rows are invalid"),
        ("runs", {"seed": 0.0}, "invalid value of column seed"),
        ("runs", {"reason": "\ud800"}, "its rows are invalid"),
        ("runs", {"preset": "dora-r12"}, "its preset does not match its spec"),
        ("runs", {"spec_hash": "0" * 64}, "does not match the stored hash"),
        ("runs", {"spec_json": "{}"}, "cannot be read: spec_json"),
        ("runs", {"spec_json": "[" * 5000 + "]" * 5000}, "its rows are invalid"),
        ("runs", {"conditions": "[" * 900 + "]" * 900}, "cannot be displayed|conditions|not valid in"),
        ("runs", {"conditions": '{"gpu": 1, "gpu_computes": 1}'}, "cannot be displayed"),
        ("runs", {"conditions": "[]"}, "conditions"),
        ("runs", {"origins": '{"a": 1}'}, "origins"),
        ("runs", {"settings": '{"rm": 1}'}, "cannot be read: settings.*'rm'"),
        ("runs", {"settings": '{"resumes": "many"}'}, "settings.resumes"),
        ("runs", {"meter_settings": "7"}, "cannot be read: meter_settings: not a JSON object"),
        ("runs", {"adapter_weights": '{"sst": "x"}'}, "adapter_weights"),
        ("runs", {"memory_measured": '{"total": {}}'}, "cannot be displayed|memory"),
        ("runs", {"best_epoch": 7}, "best epoch, 7, is not one"),
        ("runs", {"epochs_done": 9}, "invalid numbers"),
        ("runs", {"created_at": "yesterday"}, "created_at: 'yesterday' is not a timestamp"),
        ("runs", {"sweep": ESCAPE}, "unprintable"),
        ("runs", {"failure": "boredom"}, "its rows are invalid"),
        ("runs", {"queue_position": 1}, "has a column 'queue_position'"),
        ("runs", {"admin": 1}, "has a column 'admin'"),
        ("epochs", {"epoch": 99}, "its rows are invalid"),
        ("scores", {"task": "other"}, "task other"),
        ("scores", {"metric": ESCAPE}, "unprintable"),
        ("scores", {"value": "high"}, "its rows are invalid"),
        ("scores", {"value": 1}, "invalid value of column value"),
        ("phases", {"missing": '{"power_w": 3}'}, "missing"),
        ("phases", {"phase": "train\n"}, "unprintable"),
        ("events", {"kind": "\x1b[31mdata"}, "unprintable"),
        ("events", {"at": "1"}, "an invalid time"),
    ],
)
def test_a_run_that_peftbench_cannot_have_stored(
    table: str, values: dict[str, Any], said: str, forger: Forger, empty: Path
) -> None:
    refused(forger.set(table, **values), empty, said)


def test_weights_that_belong_to_no_best_epoch(forger: Forger, empty: Path) -> None:
    refused(forger.files({"weights/epoch-1.safetensors": b"x"}), empty, "does not belong to a best epoch")


def test_two_runs_or_none_in_one_bundle(forger: Forger, empty: Path) -> None:
    refused(forger.rows("runs", lambda rows: [rows[0], rows[0]]), empty, "must contain one run")
    refused(forger.files({"rows/runs.jsonl": b""}), empty, "must contain one run")


def test_texts_of_strangers_are_taken_and_shown_without_what_a_terminal_acts_on(
    forger: Forger, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from peftbench.cli.runs import list_runs, show_run

    database = tmp_path / "other.db"
    path = forger.set("runs", reason=f"bored {ESCAPE}", conditions=json.dumps({"device": ESCAPE, "path": ESCAPE}))
    forger = Forger(path, tmp_path)
    path = forger.set("events", message=f"{ESCAPE} [bold]=cmd|' /C calc'!A0", kind="data")
    take_bundle(path, database)
    list_runs(db=database)
    show_run("forged-1", db=database)
    show_run("forged-1", phases=True, db=database)
    shown = capsys.readouterr().out
    assert "[bold]=cmd" in shown
    assert "\x1b" not in shown and "\x07" not in shown and "\u202e" not in shown
