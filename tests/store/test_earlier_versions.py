"""Files written by earlier versions: databases and bundles of schemas 5 and 7, and specs with former keys."""

from __future__ import annotations

import dataclasses
import gzip
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from peftbench.analysis.comparison import compare
from peftbench.analysis.cost import cost
from peftbench.errors import UsageError
from peftbench.interchange.importing import take_bundle
from peftbench.spec import resolve
from peftbench.spec.model import RunSpec
from peftbench.spec.resolve import changed
from peftbench.spec.stored import hashes, stored_spec
from peftbench.spec.sweep import plan
from peftbench.spec.sweep_file import read_sweep
from peftbench.store.reader import Reader
from peftbench.store.rows import RunRecord
from peftbench.store.schema import SCHEMA_VERSION
from peftbench.store.transfer import stored
from tests.cli.inside import inside

EARLIER = Path(__file__).parent / "earlier"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Two finished runs of `last-layer`: `kept`, and `uncached` with `train.prefix_cache=false`."""
    path = tmp_path / "schema5.db"
    path.write_bytes(gzip.decompress((EARLIER / "schema5.db.gz").read_bytes()))
    return path


def records(database: Path) -> dict[str, RunRecord]:
    with Reader(database) as reader:
        return {run.name: reader.record(run, predictions=True) for run in reader.runs()}


def check(record: RunRecord, cached: bool) -> None:
    assert (record.run.state, record.run.attempt) == ("finished", 1)
    assert record.run.spec["train"]["cache_frozen_features"] is cached
    assert "prefix_cache" not in record.run.spec["train"]
    assert record.run.origins["train.cache_frozen_features"] == ("default" if cached else "--set")
    assert {phase.attempt for phase in record.phases} == {1}
    computed = [phase for phase in record.phases if phase.phase == "frozen_features"]
    assert len(computed) == (9 if cached else 0)
    assert (cost(record).frozen_features_s is not None) is cached
    assert "prefix" not in {phase.phase for phase in record.phases} | {event.kind for event in record.events}


def test_a_database_of_schema_5_is_read_with_current_names(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (5,)
    stored = records(database)
    check(stored["kept"], cached=True)
    check(stored["uncached"], cached=False)
    for record in stored.values():
        spec = stored_spec(record.run.spec_json)
        assert (spec.hash(), spec.group_hash()) == (record.run.spec_hash, record.run.group_hash)
    compared = compare([stored["kept"], stored["uncached"]])
    assert "train.cache_frozen_features" in {each.key for each in compared.differences}
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("command", [("runs",), ("show", "kept"), ("show", "kept", "--phases"), ("queue",)])
def test_commands_print_what_an_earlier_version_stored(database: Path, command: tuple[str, ...]) -> None:
    done = inside(*command, "--db", database)
    assert done.returncode == 0, done.stderr
    assert "kept" in done.stdout or command == ("queue",)


def test_a_run_of_schema_5_is_stored_again_with_its_spec(database: Path) -> None:
    run = records(database)["uncached"].run
    again = changed(run.spec_json, run.origins, ["train.epochs=2"])
    assert again.spec.train.cache_frozen_features is False
    assert again.origins["train.cache_frozen_features"] == "--set"


def test_a_bundle_of_schema_5_is_imported_and_recognised(database: Path, tmp_path: Path) -> None:
    bundle = EARLIER / "schema5.bundle"
    taken = take_bundle(bundle, tmp_path / "new.db")
    assert (taken.name, taken.known) == ("kept", False)
    check(records(tmp_path / "new.db")["kept"], cached=True)
    assert take_bundle(bundle, tmp_path / "new.db").known
    assert take_bundle(bundle, database).known, "the run it was exported from"


def test_predictions_of_schema_7_are_read_to_the_last_bit(tmp_path: Path) -> None:
    """It stored a row for each example: of a binary task with groups, and of a regression, on dev and test."""
    database = tmp_path / "schema7.db"
    database.write_bytes(gzip.decompress((EARLIER / "schema7.db.gz").read_bytes()))
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (7,)
        columns = "task, epoch, example_id, label, prediction, cluster, split"
        before = connection.execute(f"SELECT {columns}, position FROM predictions ORDER BY rowid").fetchall()
    record = records(database)["kept"]
    read = [row for split in ("dev", "test") for rows in record.predictions_on(split).values() for row in rows]
    assert len(read) == len(before) == 48
    assert {dataclasses.astuple(row) for row in read} == {(*row[:7], None) for row in before}
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        exported = [tuple(row.values()) for row in stored(connection, "predictions", record.run.id)]
        seen = connection.execute("SELECT example_id, label, position FROM predictions ORDER BY rowid").fetchall()
    places = [(*row[:2], row[7], *row[2:7]) for row in before]
    assert [(row[0], row[1], row[2], *row[3:8]) for row in exported] == places
    assert {tuple(row)[::2] for row in seen} == {(row[2], row[7]) for row in before}


def test_a_bundle_of_schema_7_is_imported_and_recognised(tmp_path: Path) -> None:
    bundle = EARLIER / "schema7.bundle"
    assert not take_bundle(bundle, tmp_path / "new.db").known
    assert take_bundle(bundle, tmp_path / "new.db").known
    record = records(tmp_path / "new.db")["kept"]
    assert {task: len(rows) for task, rows in record.test_predictions.items()} == {"mood": 12, "price": 12}
    assert record.predictions["mood"][0].cluster == "author 0"


def presets(tmp_path: Path, key: str) -> tuple[Path, Path, Path]:
    preset, workload, sweep = (tmp_path / f"{name}.toml" for name in ("preset", "workload", "sweep"))
    preset.write_text(f'pin = ["train.{key}"]\n[method]\nname = "last-layer"\n[train]\nlr = 0.001\n{key} = false\n')
    quickstart = 'source = { type = "quickstart", train = 20, dev = 10 }'
    workload.write_text(
        'description = "own"\n[encoder]\nname = "all-MiniLM-L6-v2"\n'
        f"[tasks.sst]\n{quickstart}\n[adjust.last-layer.train]\n{key} = true\n"
    )
    sweep.write_text(
        f'presets = ["last-layer"]\n[grid]\n"train.{key}" = [true, false]\n[[skip]]\n"train.{key}" = true\n'
    )
    return preset, workload, sweep


def of_each_key(tmp_path: Path, use: Callable[[tuple[Path, Path, Path], str], object]) -> None:
    results = []
    for key in ("prefix_cache", "cache_frozen_features"):
        results.append(use(presets(tmp_path, key), key))
    assert results[0] == results[1]


def test_presets_workloads_and_overrides_may_use_the_former_key(tmp_path: Path) -> None:
    def use(files: tuple[Path, Path, Path], key: str) -> object:
        preset, workload, _ = files
        pinned = resolve(str(preset), str(workload)).spec
        assert pinned.train.cache_frozen_features is False
        adjusted = resolve("last-layer", str(workload)).spec
        assert adjusted.train.cache_frozen_features is True
        overridden = resolve("last-layer", overrides=[f"train.{key}=false"])
        assert overridden.origins["train.cache_frozen_features"] == "--set"
        return pinned.hash(), adjusted.hash(), overridden.spec.hash()

    of_each_key(tmp_path, use)


def test_sweeps_may_use_the_former_key(tmp_path: Path) -> None:
    def use(files: tuple[Path, Path, Path], key: str) -> object:
        (run,) = plan(read_sweep(str(files[2]))).runs
        assert run.resolved.spec.train.cache_frozen_features is False
        return run.label

    of_each_key(tmp_path, use)


def test_the_hash_is_that_of_the_former_name() -> None:
    """The pair of hashes is that of the release before: a run is recognised as a repeat of those already stored."""
    spec = resolve("last-layer", overrides=["train.cache_frozen_features=false"]).spec
    tree = json.loads(spec.canonical_json())
    tree["train"]["prefix_cache"] = tree["train"].pop("cache_frozen_features")
    former = RunSpec.model_validate_json(json.dumps(tree))
    assert former == spec
    assert hashes(former) == hashes(spec)


def test_both_names_at_once_are_refused_in_a_stored_spec() -> None:
    tree = json.loads(resolve("last-layer").spec.canonical_json())
    tree["train"]["prefix_cache"] = True
    with pytest.raises(ValueError, match="prefix_cache"):
        RunSpec.model_validate_json(json.dumps(tree))


def test_an_unknown_key_suggests_current_names_only() -> None:
    with pytest.raises(UsageError, match="cache_frozen_features") as caught:
        resolve("last-layer", overrides=["train.cache_frozen=false"])
    assert "prefix_cache" not in caught.value.message
