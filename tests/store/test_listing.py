"""Queries for runs: indexed lookup, pages, changes; an unreadable row does not affect the others."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from peftbench.analysis.selection import select
from peftbench.errors import DataError, MissingError, UsageError
from peftbench.store import listing
from peftbench.store.reader import JUDGED_BY, Reader
from peftbench.store.rows import Run, RunFilter, UnreadableRun
from peftbench.tui.machine import Machine
from peftbench.tui.source import StoreSource
from peftbench.tui.state import StateRequest
from tests.store.life import Life
from tests.stored import create
from tests.stored import execute_sql as change
from tests.stored import spec_json as spec


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    made = Life(tmp_path / "runs.db")
    yield made
    made.close()


@pytest.fixture
def reader(life: Life) -> Iterator[Reader]:
    with Reader(life.path) as reader:
        yield reader


def names(runs: object) -> list[str]:
    return [run.name for run in runs]  # type: ignore[attr-defined]


class TestPages:
    def test_pages_together_are_all_runs_once_also_of_one_moment(
        self, life: Life, reader: Reader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(listing, "PAGE", 4)
        made = [create(life, f"run-{number}") for number in range(11)]
        change(life.path, "UPDATE runs SET created_at = '2026-01-01T00:00:00.000Z' WHERE rowid % 3 = 0")
        listed = [run.id for run in reader.listed()]
        assert sorted(listed) == sorted(made)
        times = [reader.run(run_id).created_at for run_id in listed]
        assert times == sorted(times, reverse=True)
        for place, run_id in enumerate(listed):
            assert [run.id for run in reader.listed(before=reader.run(run_id))] == listed[place + 1 :]

    def test_a_page_reads_no_more_rows_than_it_shows(self, life: Life, reader: Reader) -> None:
        for number in range(450):
            create(life, f"run-{number}")
        asked: list[str] = []
        reader._connection.set_trace_callback(asked.append)
        assert names([next(reader.listed())]) == ["run-449"]
        assert len([sql for sql in asked if "*" in sql and "IN (" in sql]) == 1
        reader._connection.set_trace_callback(None)

    def test_filters(self, life: Life, reader: Reader) -> None:
        queued = create(life, "a", preset="lora-r12")
        other = create(life, "b", preset="full", workload="paper")
        life.claim(other)
        life.finish(other, "finished")
        change(
            life.path, "UPDATE runs SET created_at = '2020-01-01T00:00:00.000Z', sweep = 'mine' WHERE id = ?", queued
        )
        for only, expected in (
            (RunFilter(), ["b", "a"]),
            (RunFilter(states=("queued",)), ["a"]),
            (RunFilter(states=("queued", "finished")), ["b", "a"]),
            (RunFilter(preset="full"), ["b"]),
            (RunFilter(workload="quickstart"), ["a"]),
            (RunFilter(sweep="mine"), ["a"]),
            (RunFilter(since="2025-01-01T00:00:00.000Z"), ["b"]),
            (RunFilter(states=("finished",), preset="lora-r12"), []),
        ):
            assert names(reader.listed(only)) == expected, only

    @pytest.mark.parametrize(
        ("sql", "index"),
        [
            ("id = 'x'", "sqlite_autoindex_runs"),
            ("name = 'x'", "sqlite_autoindex_runs"),
            (listing._starts("id").replace("?1", "'x'"), "sqlite_autoindex_runs"),
            (listing._starts("name").replace("?1", "'x'"), "sqlite_autoindex_runs"),
            (listing._starts("group_hash").replace("?1", "'x'"), "runs_by_group"),
            ("sweep = 'x'", "runs_by_sweep"),
            ("preset = 'x'", "runs_by_preset"),
            ("spec_hash IN ('x')", "runs_by_spec"),
            ("1 ORDER BY created_at DESC, rowid DESC LIMIT 50", "runs_by_time"),
            ("state = 'finished' ORDER BY created_at DESC, rowid DESC", "runs_by_state_and_time"),
            ("preset = 'x' ORDER BY created_at DESC LIMIT 50", "runs_by_preset"),
            ("state = 'finished' AND group_hash = 'x' ORDER BY created_at DESC", "runs_to_judge_a_spec_by"),
            (
                "state = 'finished' AND workload = 'x' AND method = 'y' AND worker_host = 'z' ORDER BY created_at DESC",
                "runs_to_judge_a_workload_by",
            ),
        ],
    )
    def test_every_lookup_is_answered_by_an_index(self, reader: Reader, sql: str, index: str) -> None:
        plan = reader._connection.execute(f"EXPLAIN QUERY PLAN SELECT rowid FROM runs WHERE {sql}").fetchall()
        told = " ".join(row["detail"] for row in plan)
        assert index in told
        assert "TEMP B-TREE" not in told


class TestMatching:
    @pytest.fixture
    def runs(self, life: Life) -> dict[str, str]:
        made = {
            name: create(life, name, group=group, preset=preset)
            for name, group, preset in (
                ("lora-1", "a" * 64, "lora-r12"),
                ("lora-2", "a" * 64, "lora-r12"),
                ("full-1", "b" * 64, "full"),
                ("mine", "b" * 64, "full"),
            )
        }
        change(life.path, "UPDATE runs SET sweep = 'study-7kq2' WHERE name IN ('lora-1', 'mine')")
        return made

    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("study-7kq2", ["lora-1", "mine"]),
            ("lora-r12", ["lora-1", "lora-2"]),
            ("full", ["full-1", "mine"]),
            ("bbbbbb", ["full-1", "mine"]),
            ("mine", ["mine"]),
            ("latest", ["mine"]),
            ("full-", ["full-1"]),
        ],
    )
    def test_sweeps_presets_groups_and_runs(
        self, runs: dict[str, str], reader: Reader, word: str, expected: list[str]
    ) -> None:
        assert sorted(names(reader.matching(word))) == expected

    def test_no_match_and_several_matches(self, runs: dict[str, str], reader: Reader) -> None:
        with pytest.raises(MissingError, match="did you mean 'lora-1'"):
            reader.matching("lroa-1")
        with pytest.raises(UsageError, match="matches 2 runs"):
            reader.matching("lora-")
        with pytest.raises(MissingError):
            reader.matching("study-7")

    @pytest.mark.parametrize("word", ["lora-1", "full", "lora-", "mine", "latest", "a" * 10, "a" * 6 + "/", "nothing"])
    @pytest.mark.parametrize("workload", [None, "quickstart", "paper"])
    def test_candidates_give_the_same_choice_as_all_runs(
        self, runs: dict[str, str], life: Life, reader: Reader, word: str, workload: str | None
    ) -> None:
        for run_id in list(runs.values())[1:]:
            life.claim(run_id)
            life.finish(run_id, "finished")

        def outcome(among: list[Run]) -> object:
            try:
                chosen = select(word, among, workload)
            except (MissingError, UsageError) as error:
                return type(error), error.message.partition(";")[0]
            return chosen.label, [run.id for run in chosen.runs]

        all_runs, candidates = outcome(reader.runs()), outcome(reader.candidates(word, workload))
        if workload == "paper" and not reader.candidates(word, workload):
            assert all_runs[0] is MissingError  # type: ignore[index]
        else:
            assert candidates == all_runs

    def test_forecasts_use_the_newest_of_spec_method_and_workload(self, life: Life, reader: Reader) -> None:
        for number in range(JUDGED_BY + 5):
            run_id = create(life, f"run-{number}", group="g" if number % 2 else "h")
            life.claim(run_id)
            life.finish(run_id, "finished")
        create(life, "waits")
        judging = names(reader.judging([("h", "quickstart", "lora")]))
        assert "waits" not in judging
        assert judging[0] == f"run-{JUDGED_BY + 4}"
        assert {f"run-{number}" for number in range(0, JUDGED_BY, 2)} <= set(judging)  # all of its own spec
        assert "run-1" not in judging
        assert reader.judging([("x", "another", "lora")]) == []


class TestChanges:
    def test_each_changed_or_deleted_run_is_reported_once(self, life: Life, reader: Reader) -> None:
        first, second = create(life, "a"), create(life, "b")
        number, ids = reader.changed(0)
        assert ids == [first, second]
        assert reader.changed(number) == (number, [])
        assert reader.last_change() == number
        life.claim(first)
        life.put_progress(first, _progress())
        number, ids = reader.changed(number)
        assert ids == [first]
        life.finish(first, "finished")
        life.writer.delete_run(reader.run(first))
        number, ids = reader.changed(number)
        assert ids == [first]
        assert reader.get(first) is None

    def test_a_manual_change_is_reported(self, life: Life, reader: Reader) -> None:
        run_id = create(life, "a")
        number, version = reader.last_change(), reader.version()
        assert reader.version() == version
        change(life.path, "UPDATE runs SET name = 'b'")
        assert reader.version() != version
        assert reader.changed(number)[1] == [run_id]

    def test_the_dashboard_rereads_changed_runs_only(self, life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(6):
            create(life, f"run-{number}")
        source = StoreSource(life.path, Machine)
        first = source.look(StateRequest())
        parsed: list[str] = []
        parse = listing.parse_run
        monkeypatch.setattr(listing, "parse_run", lambda row: parsed.append(row["name"]) or parse(row))
        assert source.look(StateRequest()).lines is first.lines
        assert parsed == []
        change(life.path, "UPDATE runs SET name = 'other' WHERE name = 'run-3'")
        assert names(line.run for line in source.look(StateRequest()).lines)[2] == "other"
        assert parsed[:1] == ["other"]
        source.close()

    def test_the_dashboard_holds_the_newest_and_active_runs(self, life: Life) -> None:
        for number in range(8):
            run_id = create(life, f"run-{number}")
            if number:
                life.claim(run_id)
                life.finish(run_id, "finished")
        source = StoreSource(life.path, Machine)
        found = source.look(StateRequest(most=3))
        assert names(line.run for line in found.lines) == ["run-7", "run-6", "run-5", "run-0"]
        assert found.total == 8
        assert len(source.look(StateRequest(most=6)).lines) == 7
        create(life, "newest")
        found = source.look(StateRequest(most=3))
        assert names(line.run for line in found.lines) == ["newest", "run-7", "run-6", "run-0"]
        assert found.total == 9
        source.close()


def _progress() -> object:
    from tests.stored import PROGRESS

    return PROGRESS


BAD = [
    ("conditions", "[]"),
    ("conditions", "{"),
    ("origins", "null"),
    ("adapter_weights", "3"),
    ("memory_predicted", "[1]"),
    ("settings", '{"unknown": 1}'),
    ("meter_settings", "not json"),
    ("spec_json", "{}"),
    ("spec_json", "not json"),
    ("spec_json", '{"tasks": [{"name": 3}]}'),
    ("created_at", "yesterday"),
    ("finished_at", "2026-01-01T00:00:00"),
    ("state", "sleeping"),
    ("conditions", "[" * 100_000),
]


class TestDamage:
    @pytest.mark.parametrize(("column", "value"), BAD)
    def test_one_bad_value_is_reported_and_the_others_are_listed(
        self, life: Life, reader: Reader, column: str, value: str
    ) -> None:
        good, bad = create(life, "good"), create(life, "bad")
        change(life.path, f"UPDATE runs SET {column} = ? WHERE id = ?", value, bad)
        listed = {run.id: run for run in reader.listed()}
        assert set(listed) == {good, bad}
        odd = listed[bad]
        assert isinstance(odd, UnreadableRun)
        assert odd.name == "bad"
        assert column in odd.reason
        assert names(reader.runs()) == ["good"]
        assert reader.run(good).name == "good"
        for reference in (bad, "bad"):
            with pytest.raises(DataError, match=column):
                reader.find(reference)
        first = reader.first_queued()
        assert first is not None
        assert first.id == good

    def test_invalid_utf8_is_unreadable(self, life: Life, reader: Reader) -> None:
        good, bad = create(life, "good"), create(life, "bad")
        change(life.path, "UPDATE runs SET reason = CAST(x'ff41' AS TEXT) WHERE id = ?", bad)
        listed = {run.id: run for run in reader.listed()}
        assert isinstance(listed[good], Run)
        assert isinstance(listed[bad], UnreadableRun)

    def test_a_page_of_the_file_that_is_damaged(self, life: Life, tmp_path: Path) -> None:
        """Rows on other pages are listed; of the damaged one the name, as far as an index has it."""
        long = "x" * 40_000
        for name in ("first", "second", "third"):
            run_id = create(life, name)
            change(
                life.path, "UPDATE runs SET spec_json = ? WHERE id = ?", spec()[:-1] + f', "note": "{long}"}}', run_id
            )
        life.close()
        with closing(sqlite3.connect(life.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode = DELETE")
        content = bytearray(life.path.read_bytes())
        size = int.from_bytes(content[16:18], "big")
        pages = [at for at in range(0, len(content), size) if content[at + 100 : at + size] == b"x" * (size - 100)]
        middle = pages[len(pages) // 2]
        content[middle : middle + 4] = b"\xff\xff\xff\xff"  # next page of the row's text: missing
        life.path.write_bytes(content)
        with Reader(life.path) as reader:
            listed = list(reader.listed())
        assert names(listed) == ["third", "second", "first"]
        assert [type(run) for run in listed].count(UnreadableRun) == 1

    def test_an_unreadable_run_can_be_deleted(self, life: Life, reader: Reader) -> None:
        from peftbench.jobs.removal import remove

        bad = create(life, "bad")
        change(life.path, "UPDATE runs SET conditions = '[]' WHERE id = ?", bad)
        (odd,) = reader.listed()
        assert remove(life.path, [odd]) == []
        assert list(reader.listed()) == []
