"""What meters leave in the store: usage, samples, facts at the end; and databases of before there were any."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from peftbench.errors import MissingError
from peftbench.store.reader import Reader
from peftbench.store.rows import MeterSettings, Phase, SampleRow, Usage
from peftbench.store.schema import APPLICATION_ID, SCHEMA_VERSION, migrations
from peftbench.store.writer import Writer
from tests.meters.fakes import usage

SPEC = (
    '{"preset":"p","workload":"w","method":{"name":"lora"},"encoder":{"name":"e"},"seed":0,'
    '"train":{"epochs":1},"tasks":[]}'
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    with Writer(path) as writer:
        yield writer


def create(writer: Writer, settings: MeterSettings | None = None) -> str:
    return writer.create_run(spec_json=SPEC, spec_hash="s", group_hash="g", origins={}, meter_settings=settings)


def test_every_field_of_usage_comes_back_as_it_was(path: Path, writer: Writer) -> None:
    run_id = create(writer)
    numbers = {f.name: place + 0.5 for place, f in enumerate(fields(Usage)) if f.name != "missing"}
    whole = {name: int(numbers[name]) for name in ("samples", "counter_resets", "event_reasons", "foreign_processes")}
    full = Usage(**(numbers | whole), missing={})
    empty = Usage(1.0, 2.0, 3, missing={"energy_j": "no_permission"})
    told = [Phase("train", 1, "sst", "train", 2.0, usage=each) for each in (full, empty, None)]
    writer.put_phases(run_id, told)
    with Reader(path) as reader:
        assert list(reader.record(reader.run(run_id)).phases) == told


def test_samples_come_back_after_a_number_and_twice_is_once(path: Path, writer: Writer) -> None:
    run_id = create(writer)
    rows = [SampleRow(n, 10.0 + n, "train", power_w=100.0 + n, event_reasons=4) for n in (1, 2, 3)]
    writer.put_samples(run_id, rows[:2])
    writer.put_samples(run_id, rows)
    with Reader(path) as reader:
        assert reader.samples(run_id) == rows
        assert reader.samples(run_id, after=2) == rows[2:]


def test_what_is_known_at_the_end_is_stored_whole(path: Path, writer: Writer) -> None:
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


def test_the_end_of_a_run_that_is_gone_is_no_error(path: Path, writer: Writer) -> None:
    writer.put_ending("abcd2345", Phase("run", None, None, None, 9.0), [SampleRow(1, 1.0, None)], {}, {})
    with Reader(path) as reader:
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


def test_an_older_database_is_brought_up_to_date_by_whoever_opens_it(old: Path) -> None:
    with Reader(old) as reader:
        record = reader.record(reader.find("old-1"))
        assert record.phases == (Phase("train", None, None, None, 2.5, steps=10),)
        assert record.run.meter_settings == MeterSettings()
        assert reader.samples("abcd2345") == []
    connection = sqlite3.connect(old)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
    assert connection.execute("SELECT its FROM resources").fetchone()[0] == 4.0
    connection.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_an_older_database_that_cannot_be_written_says_so(old: Path) -> None:
    old.chmod(0o444)
    old.parent.chmod(0o555)
    try:
        with pytest.raises(MissingError, match="cannot be written"):
            Reader(old)
    finally:
        old.parent.chmod(0o755)
