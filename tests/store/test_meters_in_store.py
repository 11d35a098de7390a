"""Stored measurements: usage, samples, final conditions; and databases from before meters existed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from peftbench.store.meter_fields import meter_fields
from peftbench.store.reader import Reader
from peftbench.store.rows import MeterSettings, Phase, RunSettings, SampleRow, Usage
from peftbench.store.run_log import TakenOver
from peftbench.store.schema import APPLICATION_ID, SCHEMA_VERSION, migrations
from tests.meters.fakes import usage
from tests.store.life import Life

SPEC = (
    '{"preset":"p","workload":"w","method":{"name":"lora"},"encoder":{"name":"e"},"seed":0,'
    '"train":{"epochs":1},"tasks":[]}'
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Life]:
    life = Life(path)
    yield life
    life.close()


def create(writer: Life, settings: MeterSettings | None = None) -> str:
    return writer.create_run(spec_json=SPEC, spec_hash="s", group_hash="g", origins={}, meter_settings=settings)


def test_every_field_of_usage_comes_back_as_it_was(path: Path, writer: Life) -> None:
    run_id = create(writer)
    numbers = {f.name: place + 0.5 for place, f in enumerate(fields(Usage)) if f.name != "missing"}
    of_table = (name for name, field in meter_fields(Usage).items() if field.is_whole)
    whole = {name: int(numbers[name]) for name in ("samples", "counter_resets", *of_table)}
    full = Usage(**(numbers | whole), missing={})
    empty = Usage(1.0, 2.0, 3, missing={"energy_j": "no_permission"})
    told = [Phase("train", 1, "sst", "train", 2.0, usage=each) for each in (full, empty, None)]
    writer.put_phases(run_id, told)
    with Reader(path) as reader:
        assert list(reader.record(reader.run(run_id)).phases) == told


def test_samples_come_back_after_a_number_and_twice_is_once(path: Path, writer: Life) -> None:
    run_id = create(writer)
    rows = [SampleRow(n, 10.0 + n, "train", power_w=100.0 + n, event_reasons=4) for n in (1, 2, 3)]
    writer.put_samples(run_id, rows[:2])
    writer.put_samples(run_id, rows)
    with Reader(path) as reader:
        assert reader.samples(run_id) == rows
        assert reader.samples(run_id, after=2) == rows[2:]


def test_every_field_of_a_sample_comes_back_as_it_was(path: Path, writer: Life) -> None:
    run_id = create(writer)
    table = meter_fields(SampleRow)
    row = SampleRow(1, 10.0, "train", **{name: table[name].stored(n + 0.5) for n, name in enumerate(table)})
    writer.put_samples(run_id, [row])
    with Reader(path) as reader:
        assert reader.samples(run_id) == reader.sample_summary(run_id, 1) == [row]


def test_final_conditions_are_stored(path: Path, writer: Life) -> None:
    run_id = create(writer, MeterSettings(idle_s=3.0, gpu="1"))
    writer.add_conditions(run_id, {"clock_lock": {"undone": None}, "cores": 2})
    row = Phase("run", None, None, None, 9.0, usage=usage(9.0))
    measured = {"weights": 7}
    writer.put_ending(
        run_id, row, [SampleRow(1, 1.0, None)], {"clock_lock": {"undone": True}}, {"memory_measured": measured}
    )
    with Reader(path) as reader:
        record = reader.record(reader.run(run_id))
        assert record.run.conditions == {"clock_lock": {"undone": True}, "cores": 2}
        assert record.run.meter_settings == MeterSettings(idle_s=3.0, gpu="1")
        assert (record.run.memory_measured, record.run.memory_predicted) == (measured, None)
        assert record.phases == (row,)
        assert len(reader.samples(run_id)) == 1


def test_the_worker_of_a_run_that_was_deleted_writes_nothing_any_more(path: Path, writer: Life) -> None:
    run_id = create(writer)
    writer.claim(run_id)
    writer.end(run_id, "lost", "taken for dead")
    with Reader(path) as reader:
        writer.delete_run(reader.run(run_id))
        with pytest.raises(TakenOver):
            writer.put_ending(run_id, Phase("run", None, None, None, 9.0), [SampleRow(1, 1.0, None)], {}, {})
        assert reader.runs() == []


@pytest.fixture
def old(path: Path) -> Path:
    """A database of the first version, with a run and a phase."""
    from sqlite_utils import Database

    connection = sqlite3.connect(path)
    migrations().apply(Database(connection), stop_before="0002_meters")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.execute(
        "INSERT INTO runs (id, name, state, preset, workload, method, encoder, seed, spec_json, spec_hash, group_hash,"
        " origins, epochs_planned, created_at) VALUES ('abcd2345', 'old-1', 'finished', 'p', 'w', 'lora', 'e', 0, ?,"
        " 's', 'g', '{}', 1, '2026-01-01T10:00:00.000Z')",
        (SPEC,),
    )
    connection.execute("INSERT INTO phases (run_id, phase, wall_s, steps) VALUES ('abcd2345', 'train', 2.5, 10)")
    connection.commit()
    connection.close()
    return path


def test_runs_of_before_there_was_a_queue_keep_all_that_belongs_to_them(path: Path) -> None:
    from sqlite_utils import Database

    connection = sqlite3.connect(path)
    migrations().apply(Database(connection), stop_before="0003_jobs")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 2")
    states = ("finished", "interrupted", "failed", "running")
    for number, state in enumerate(states):
        run = (f"abcd234{number}", f"old-{number}", state, SPEC)
        connection.execute(
            "INSERT INTO runs (id, name, state, preset, workload, method, encoder, seed, spec_json, spec_hash,"
            " group_hash, origins, epochs_planned, created_at, started_at) VALUES (?, ?, ?, 'p', 'w', 'lora', 'e', 0,"
            " ?, 's', 'g', '{}', 1, '2026-01-01T10:00:00.000Z', '2026-01-01T10:00:01.000Z')",
            run,
        )
        connection.execute("INSERT INTO epochs VALUES (?, 1, 0.5, 0.5, NULL, 't')", run[:1])
        connection.execute("INSERT INTO scores VALUES (?, 1, 'sst', 'dev', 'accuracy', 0.5, NULL, 1.0, 9)", run[:1])
        connection.execute("INSERT INTO predictions VALUES (?, 'sst', 1, 0, 'x', 1.0, 1.0)", run[:1])
        connection.execute("INSERT INTO events VALUES (?, 1, 't', 'state', 'starting')", run[:1])
        connection.execute("INSERT INTO phases (run_id, phase, epoch, wall_s) VALUES (?, 'train', 1, 2.5)", run[:1])
        connection.execute("INSERT INTO samples (run_id, sequence, at_s) VALUES (?, 1, 1.0)", run[:1])
    connection.commit()
    connection.close()
    with Reader(path) as reader:
        records = [reader.record(run, predictions=True) for run in reversed(reader.runs())]
        assert [record.run.state for record in records] == ["finished", "stopped", "failed", "running"]
        for record in records:
            assert (len(record.epochs), len(record.scores), len(record.phases), len(record.events)) == (1, 1, 1, 1)
            assert (record.run.attempt, record.run.settings, record.run.sweep) == (1, RunSettings(), None)
            assert len(reader.samples(record.run.id)) == 1
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("SELECT count(*) FROM curves").fetchone() == (4,)
    assert connection.execute("SELECT count(*), count(cluster) FROM predictions").fetchone() == (4, 0)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("DELETE FROM runs")
    for table in ("epochs", "scores", "events", "phases", "samples"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    connection.close()


def test_an_older_database_is_migrated_by_the_first_to_open_it(old: Path) -> None:
    with Reader(old) as reader:
        record = reader.record(reader.find("old-1"))
        assert record.phases == (Phase("train", None, None, None, 2.5, steps=10),)
        assert record.run.meter_settings == MeterSettings()
        assert reader.samples("abcd2345") == []
    connection = sqlite3.connect(old)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
    assert connection.execute("SELECT its FROM resources").fetchone()[0] == 4.0
    connection.close()
