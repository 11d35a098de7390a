"""End-to-end tests of paging, filters, unreadable runs, and words that name several runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from peftbench.cli import app
from peftbench.cli.moments import moment_of
from peftbench.errors import UsageError
from peftbench.store.reader import Reader
from peftbench.store.rows import Run
from tests.store.life import Life
from tests.stored import create
from tests.stored import execute_sql as change


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """60 finished runs of a preset and 5 queued runs of a sweep; nothing is started."""
    for name in ("jobs.queue", "jobs.control"):
        monkeypatch.setattr(f"peftbench.{name}.ensure_runner", lambda _: False)
    life = Life(tmp_path / "runs.db")
    for number in range(60):
        run_id = create(life, f"old-{number}", preset="full")
        life.claim(run_id)
        life.finish(run_id, "stopped" if number % 10 == 0 else "finished")
    for number in range(5):
        create(life, f"new-{number}")
    change(life.path, "UPDATE runs SET sweep = 'study-7kq2' WHERE name LIKE 'new-%'")
    life.close()
    return life.path


def cli(*arguments: object, text: str | None = None) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), input=text)


def states(db: Path) -> dict[str, str]:
    with Reader(db) as reader:
        return {run.name: run.state for run in reader.runs()}


class TestRuns:
    def listed(self, *words: object) -> list[str]:
        done = cli("runs", *words)
        assert done.exit_code == 0, done.output
        return [line.split()[0] for line in done.stdout.splitlines()[2:]]

    @pytest.mark.slow
    def test_a_page_and_the_next_are_all(self, db: Path) -> None:
        first = cli("runs", "--db", db)
        page = [line.split() for line in first.stdout.splitlines()[2:]]
        assert len(page) == 50
        last = page[-1][1]
        assert f"more: peftbench runs --before {last}" in first.stderr
        rest = cli("runs", "--db", db, "--before", last)
        assert len(rest.stdout.splitlines()[2:]) == 15
        assert rest.stderr == ""
        assert len(self.listed("--db", db, "--all")) == 65
        assert self.listed("--db", db, "--limit", 2) == ["new-4", "new-3"]

    @pytest.mark.slow
    def test_filters(self, db: Path) -> None:
        assert len(self.listed("--db", db, "--state", "stopped")) == 6
        assert len(self.listed("--db", db, "--state", "stopped", "--state", "queued")) == 11
        assert len(self.listed("--db", db, "--preset", "full", "--all")) == 60
        assert len(self.listed("--db", db, "--sweep", "study-7kq2")) == 5
        assert len(self.listed("--db", db, "--since", "1h", "--all")) == 65
        done = cli("runs", "--db", db, "--since", "2999-01-01")
        assert (done.exit_code, "None of the 65 runs" in done.stdout) == (0, True)
        for words, said in (
            (("--state", "queud"), "did you mean 'queued'"),
            (("--since", "soon"), "not a date or time"),
        ):
            done = cli("runs", "--db", db, *words)
            assert isinstance(done.exception, UsageError)
            assert said in done.exception.message

    def test_json_is_all_of_them_and_has_a_spec_only_where_asked(self, db: Path) -> None:
        found = json.loads(cli("runs", "--db", db, "--json").stdout)
        assert len(found) == 65
        assert not {"spec", "spec_json", "origins"} & found[0].keys()
        (first,) = json.loads(cli("runs", "--db", db, "--json", "--spec", "-n", 1).stdout)
        assert first["spec"]["preset"] == "lora-r12"
        assert json.loads(cli("runs", "--db", db, "--json", "--state", "failed").stdout) == []

    def test_json_comes_row_by_row(self, db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        events: list[str] = []
        parse, dumps = "peftbench.store.listing.parse_run", json.dumps
        from peftbench.store import listing

        plain = listing.parse_run
        monkeypatch.setattr(listing, "PAGE", 10)
        monkeypatch.setattr(parse, lambda row: events.append("read") or plain(row))
        monkeypatch.setattr(json, "dumps", lambda *a, **k: events.append("write") or dumps(*a, **k))
        assert cli("runs", "--db", db, "--json").exit_code == 0
        assert events.index("write") <= 10  # the first is written before the second page is read
        assert events.count("read") == 65

    @pytest.mark.slow
    def test_a_run_that_cannot_be_read_is_told(self, db: Path) -> None:
        change(db, "UPDATE runs SET conditions = '[]' WHERE name IN ('new-4', 'old-3')")
        done = cli("runs", "--db", db, "--all")
        assert done.exit_code == 0
        assert done.stdout.count("unreadable: ") == 2
        assert "conditions: not a JSON object" in done.stdout
        odd = [row for row in json.loads(cli("runs", "--db", db, "--json").stdout) if row["state"] == "unreadable"]
        assert [row["name"] for row in odd] == ["new-4", "old-3"]
        assert odd[0]["unreadable"] == "conditions: not a JSON object"
        queue = cli("queue", "--db", db)
        assert "unreadable: new-4" in queue.stdout
        assert "new-3" in queue.stdout
        assert len(json.loads(cli("queue", "--db", db, "--json").stdout)["runs"]) == 5
        assert "cannot be read" in str(cli("show", "new-4", "--db", db).exception)
        assert "cannot be read" in str(cli("compare", "new-4", "old-1", "--db", db).exception)
        assert cli("show", "new-3", "--db", db).exit_code == 0


class TestSeveral:
    def test_a_sweep_is_stopped_by_its_label(self, db: Path) -> None:
        assert cli("stop", "study-7kq2", "--db", db).exit_code == 0
        found = states(db)
        assert {found[f"new-{number}"] for number in range(5)} == {"stopped"}
        done = cli("stop", "study-7kq2", "--db", db)
        assert isinstance(done.exception, UsageError)
        assert "names 5 runs, none of which can be stopped" in done.exception.message

    def test_a_sweep_is_deleted_with_a_count(self, db: Path) -> None:
        done = cli("delete", "study-7kq2", "--db", db, text="n\n")
        assert (done.exit_code, "Delete these 5 runs?" in done.output) == (1, True)
        assert len(states(db)) == 65
        done = cli("delete", "study-7kq2", "--db", db, text="y\n")
        assert (done.exit_code, "deleted 5" in done.output) == (0, True)
        assert not [name for name in states(db) if name.startswith("new-")]

    def test_of_many_only_the_first_titles_are_shown(self, db: Path) -> None:
        done = cli("delete", "full", "--db", db, text="n\n")
        assert "… and 40 more" in done.output
        assert "Delete these 60 runs?" in done.output

    def test_a_preset_is_resumed_and_tried_again_as_far_as_it_can_be(self, db: Path) -> None:
        done = cli("resume", "full", "--detach", "--db", db)
        assert done.exit_code == 0, done.output
        assert len(done.stdout.split()) == 6
        found = states(db)
        assert {found[f"old-{number}"] for number in range(0, 60, 10)} == {"queued"}
        assert list(found.values()).count("finished") == 54
        assert "none of which can be resumed" in str(cli("resume", "full", "--detach", "--db", db).exception)

    @pytest.mark.slow
    def test_retry_takes_those_that_did_not_finish(self, db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[str] = []

        def retry(database: Path, run: Run, overrides: object) -> str:
            tried.append(run.name)
            return run.id

        monkeypatch.setattr("peftbench.jobs.control.retry", retry)
        done = cli("retry", "full", "--json", "--db", db)
        assert tried == [f"old-{number}" for number in range(0, 60, 10)]
        assert len(json.loads(done.stdout)["ids"]) == 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", "2026-11-01T10:30:00.000Z"),
        ("36h", "2026-10-31T00:00:00.000Z"),
        ("2w", "2026-10-18T12:00:00.000Z"),
        ("2026-10-01T09:30+02:00", "2026-10-01T07:30:00.000Z"),
        ("2026-10-01T09:30Z", "2026-10-01T09:30:00.000Z"),
    ],
)
def test_moments(text: str, expected: str) -> None:
    assert moment_of("--since", text, datetime(2026, 11, 1, 12, tzinfo=UTC)) == expected


@pytest.mark.parametrize("text", ["", "soon", "12", "-3d", "2026-13-01", "99999999d", "3 y"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(UsageError, match="not a date or time"):
        moment_of("--since", text, datetime(2026, 11, 1, tzinfo=UTC))
