"""End-to-end tests of `peftbench sweep` and `sweeps`."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from peftbench.analysis.forecast import RunForecast
from peftbench.cli import app
from peftbench.errors import UsageError
from peftbench.report.sweep import plan_json, plan_page
from peftbench.spec import Resolved, resolve
from peftbench.spec.sweep import plan, read_sweep
from peftbench.store.reader import Reader
from peftbench.store.rows import Worker
from tests.factories import finished_run as finished
from tests.printing import printed

GRID = """
presets = ["last-layer", "lora-r12", "lora-r12"]
seeds = 2
[grid]
"method.rank" = [4, 8]
[[skip]]
preset = "last-layer"
"method.rank" = 8
"""


def cli(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "100"})


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.toml").write_text(GRID)
    return tmp_path / "mine.toml"


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Fake queue that records the arguments of each call."""
    calls: list[dict[str, Any]] = []

    def enqueue(database: Path, runs: Sequence[Resolved], *, sweep: str, slots: int | None = None) -> list[str]:
        calls.append({"database": database, "runs": list(runs), "sweep": sweep, "slots": slots})
        return [f"run{place:05}" for place in range(len(runs))]

    monkeypatch.setattr("peftbench.jobs.queue.enqueue", enqueue)
    return calls


class TestDryRun:
    def test_rows_what_is_left_out_the_order_and_the_time(self, mine: Path, queued: list[dict[str, Any]]) -> None:
        done = cli("sweep", mine, "--dry-run")
        assert done.exit_code == 0, done.output
        lines = done.stdout.splitlines()
        assert lines[0] == "sweep mine on workload quickstart: 6 runs (3 rows, seeds 0-1)"
        table = [line.split() for line in lines if line.startswith(("last-layer ", "lora-r12 "))]
        assert [(row[0], row[-2], row[-1]) for row in table] == [
            ("last-layer", "0-1", "–"),
            ("lora-r12", "0-1", "–"),
            ("lora-r12", "0-1", "–"),
        ]
        assert "skipped by [[skip]]: 2 runs (last-layer rank=8)" in lines
        twice = "lora-r12 rank=4 is lora-r12 rank=4; lora-r12 rank=8 is lora-r12 rank=8"
        assert f"the same spec twice, run once: 4 runs ({twice})" in lines
        order = "seed 0 from last-layer, seed 1 from lora-r12 rank=4"
        assert f"order: all rows with one seed, then with the next: {order}" in lines
        assert "time: unknown: no finished run of this workload to predict from" in lines
        assert queued == []

    def test_the_json_holds_every_run_in_its_order(self, mine: Path) -> None:
        found = json.loads(cli("sweep", mine, "--dry-run", "--json", "--seeds", "4,9").stdout)
        assert [(run["seed"], run["label"]) for run in found["runs"]] == [
            (4, "last-layer"),
            (4, "lora-r12 rank=4"),
            (4, "lora-r12 rank=8"),
            (9, "lora-r12 rank=4"),
            (9, "lora-r12 rank=8"),
            (9, "last-layer"),
        ]
        assert (found["sweep"], found["seeds"], len(found["left_out"]), len(found["repeated"])) == (
            "mine",
            [4, 9],
            2,
            4,
        )
        assert found["runs"][1]["values"] == {"method.rank": 4} and found["runs"][0]["values"] == {}
        assert (found["predicted_s"], found["predicted_unknown"]) == (None, 6)
        assert len({run["spec_hash"] for run in found["runs"]}) == 6
        assert len({run["group_hash"] for run in found["runs"]}) == 3

    def test_the_options_reach_the_runs(self, mine: Path) -> None:
        planned = json.loads(cli("sweep", mine, "--dry-run", "--json", "-w", "glue", "--set", "train.epochs=4").stdout)
        same = plan(read_sweep(str(mine)), workload="glue", overrides=["train.epochs=4"])
        assert planned["workload"] == "glue"
        assert [run["spec_hash"] for run in planned["runs"]] == [run.resolved.spec.hash() for run in same.runs]

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("sudy",), "did you mean 'study'"),
            (("study", "--seeds", "none"), "--seeds none"),
            (("study", "--set", "train.epoch=1"), "did you mean 'epochs'"),
            (("lr", "--set", "train.lr=1"), "varies 'train.lr'"),
            (("study", "--workload", "quikstart"), "did you mean 'quickstart'"),
            (("study", "--data", "/no/such/folder"), "not a folder"),
        ],
    )
    def test_mistakes_are_told_before_anything_is_queued(
        self, queued: list[dict[str, Any]], arguments: tuple[str, ...], told: str
    ) -> None:
        done = cli("sweep", *arguments)
        assert isinstance(done.exception, UsageError) and told in done.exception.message
        assert queued == []


class TestForecast:
    def test_each_row_says_what_it_is_judged_by_and_they_add_up(
        self, mine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The database has one finished run of this machine: lora-r12 at rank 4, 12 s."""
        spec = resolve("lora-r12", overrides=["method.rank=4"], seed=5).spec
        here = Worker(1, 0.0, "boot", platform.node())
        stored = finished(12.0, group_hash=spec.group_hash(), worker=here)
        monkeypatch.setattr(Reader, "judging", lambda *_: [stored])
        found = json.loads(cli("sweep", mine, "--dry-run", "--json").stdout)
        assert {run["label"]: (run["predicted_s"], run["predicted_from"]) for run in found["runs"]} == {
            "last-layer": (12.0, "from 1 run of other methods on quickstart"),
            "lora-r12 rank=4": (12.0, "from 1 run of this spec"),
            "lora-r12 rank=8": (12.0, "from 1 run of lora on quickstart"),
        }
        assert (found["predicted_s"], found["predicted_unknown"]) == (72.0, 0)
        done = cli("sweep", mine, "--dry-run")
        assert done.stdout.splitlines()[-1] == "time: about 1 min 12 s, one run after another"

    def test_a_run_that_cannot_be_judged_makes_the_time_a_lower_bound(self, mine: Path) -> None:
        planned = plan(read_sweep(str(mine)), seeds=[0])
        predicted = [RunForecast(60.0, "from 1 run of this spec"), *[RunForecast(None, "no run")] * 2]
        page = plan_page(planned, predicted)
        assert page[-1] == "time: at least 1 min 00 s, one run after another (2 of 3 runs cannot be predicted)"
        found = plan_json(planned, predicted)
        assert (found["predicted_s"], found["predicted_unknown"]) == (60.0, 2)


class TestQueue:
    def test_all_runs_go_in_at_once_in_their_order(
        self, mine: Path, queued: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        done = cli("sweep", mine, "--slots", 2, "--db", tmp_path / "x.db")
        assert done.exit_code == 0, done.output
        (call,) = queued
        assert (call["database"], call["slots"]) == (tmp_path / "x.db", 2)
        assert re.fullmatch("mine-[a-z0-9]{4}", call["sweep"])
        assert call["runs"] == [run.resolved for run in plan(read_sweep(str(mine))).runs]
        lines = done.stdout.splitlines()
        assert lines[0] == f"sweep {call['sweep']}: 6 runs queued, the first run00000, the last run00005"
        assert lines[1].startswith("skipped by [[skip]]: 2 runs")
        assert lines[-1] == f"next: peftbench queue --db {tmp_path / 'x.db'}"

    def test_as_json(self, mine: Path, queued: list[dict[str, Any]]) -> None:
        found = json.loads(cli("sweep", mine, "--json", "--seeds", 1).stdout)
        assert found == {"sweep": queued[0]["sweep"], "ids": ["run00000", "run00001", "run00002"]}

    def test_two_sweeps_of_one_file_have_labels_of_their_own(self, mine: Path, queued: list[dict[str, Any]]) -> None:
        for _ in range(3):
            cli("sweep", mine)
        assert len({call["sweep"] for call in queued}) == 3

    def test_a_label_is_plain_whatever_the_file_is_called(self, mine: Path, queued: list[dict[str, Any]]) -> None:
        hostile = mine.rename(mine.with_name("\x1b[31m a [red]b[-]\u202e.toml"))
        assert cli("sweep", hostile).exit_code == 0
        assert re.fullmatch("[A-Za-z0-9._-]+-[a-z0-9]{4}", queued[0]["sweep"])


class TestCatalogue:
    def test_the_shipped_sweeps_are_listed(self) -> None:
        lines = cli("sweeps").stdout.splitlines()
        assert [line.split()[0] for line in lines[2:]] == ["dropout", "figure2", "heads", "lr", "study"]
        listed = json.loads(cli("sweeps", "--json").stdout)
        assert [set(one) for one in listed] == [{"name", "description", "path"}] * 5

    @pytest.mark.slow
    def test_one_is_shown_as_its_file(self, mine: Path) -> None:
        shown = cli("sweeps", mine).stdout
        assert shown.splitlines()[0] == f"# {mine}" and GRID in shown

    def test_one_as_json(self, mine: Path) -> None:
        found = json.loads(cli("sweeps", mine, "--json").stdout)
        assert (found["seeds"], found["grid"]) == ([0, 1], {"method.rank": [4, 8]})
        assert found["skip"] == [{"preset": ["last-layer"], "method.rank": [8]}]


@pytest.mark.parametrize("name", ["\x1b[31mx", "[red]x[", "x\u202ey", "a\x9bb"])
def test_nothing_of_a_files_name_acts_on_a_terminal(mine: Path, name: str) -> None:
    recipe = mine.with_name(f"{name}.toml")
    recipe.write_text('[method]\nname = "full"\n[train]\nlr = 1e-5\n')
    sweep = mine.with_name(f"sweep {name}.toml")
    sweep.write_text(f"description = {json.dumps(name)}\npresets = [{json.dumps(recipe.name)}]\n")
    planned = plan(read_sweep(str(sweep)))
    shown = "".join(printed(part) for part in plan_page(planned, [RunForecast(None, name)]))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
