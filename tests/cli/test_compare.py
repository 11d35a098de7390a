"""End-to-end tests of `peftbench compare` and `pareto` on finished runs with synthetic predictions."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.inside import failed
from tests.cli.inside import invoke as cli
from tests.patience import PATIENCE_S
from tests.stored import store_scored_run as fill


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("compared") / "runs.db"
    for preset in ("lora-r12", "dora-r12", "last-layer"):
        for seed in range(3):
            fill(where, preset, seed)
    fill(where, "dora-r4", 0, finish=False)
    return where


def test_presets_are_groups_and_the_first_is_the_baseline(db: Path) -> None:
    done = cli("compare", "lora-r12", "dora-r12", "last-layer", "--full", "--db", db)
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert done.output.startswith("dora-r12 against lora-r12: sst ")
    assert "last-layer against lora-r12: sst -" in text
    assert "worse" in text.partition("last-layer against")[2]
    assert "3 seeds could have shown" in text


def test_without_full_the_verdict_is_a_table(db: Path) -> None:
    done = cli("compare", "lora-r12", "last-layer", "--db", db)
    assert done.exit_code == 0, done.output
    assert "\nverdict\nagainst" in done.output
    assert " worse" in done.output
    assert "training dynamics\n" not in done.output


def test_tables_for_programs_have_everything(db: Path) -> None:
    brief, full = (
        cli("compare", "lora-r12", "last-layer", "--csv", *more, "--db", db).stdout for more in ((), ("--full",))
    )
    assert brief == full
    assert {line.partition(",")[0] for line in full.splitlines()} >= {"verdict", "quality", "cost", "dynamics"}


def test_the_baseline_can_be_named(db: Path) -> None:
    found = json.loads(cli("compare", "lora-r12", "dora-r12", "--baseline", "dora-r12", "--json", "--db", db).stdout)
    assert [group["label"] for group in found["groups"]] == ["dora-r12", "lora-r12"]
    added = json.loads(cli("compare", "lora-r12", "--baseline", "last-layer", "--json", "--db", db).stdout)
    assert (added["baseline"], len(added["groups"])) == ("last-layer", 2)


def test_a_run_and_a_group_can_stand_side_by_side(db: Path) -> None:
    found = json.loads(cli("compare", "lora-r12-1", "dora-r12", "--json", "--db", db).stdout)
    assert [len(group["runs"]) for group in found["groups"]] == [1, 3]
    assert found["against_baseline"][0]["metrics"][0]["runs"] == [1, 3]
    assert found["groups"][1]["seeds"] == [0, 1, 2]


def test_one_metric(db: Path) -> None:
    found = json.loads(cli("compare", "lora-r12", "dora-r12", "--metric", "sst", "--json", "--db", db).stdout)
    (row,) = found["against_baseline"][0]["metrics"]
    assert (row["name"], row["p"]) == ("sst", row["p_holm"])


@pytest.mark.parametrize("written", ["--markdown", "--latex", "--csv"])
def test_other_formats_show_the_same_numbers(db: Path, written: str) -> None:
    shown = json.loads(cli("compare", "lora-r12", "dora-r12", "--json", "--db", db).stdout)
    text = cli("compare", "lora-r12", "dora-r12", written, "--db", db).stdout
    low = 100 * shown["against_baseline"][0]["metrics"][0]["low"]
    assert f"[{low:+.1f}, " in text.replace("\\[", "[")
    if written == "--csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        values = {(row["row"], row["column"]): row["value"] for row in rows if row["table"] == "quality"}
        assert float(values["lora-r12", "sst"]) == shown["groups"][0]["scores"]["sst"]["mean"]


def test_strict_refuses_what_is_unfair_and_prints_no_figure(db: Path, tmp_path: Path) -> None:
    assert cli("compare", "lora-r12", "dora-r12", "--strict", "--db", db).exit_code == 0
    where = tmp_path / "unfair.db"
    fill(where, "lora-r12", 0)
    fill(where, "dora-r12", 0, "train.batch_size=16")
    code, said = failed("compare", "lora-r12", "dora-r12", "--strict", "--db", where)
    assert (code, "not alike, train.batch_size: lora-r12: 8, dora-r12: 16" in said) == (4, True)
    lenient = cli("compare", "lora-r12", "dora-r12", "--db", where)
    assert lenient.output.startswith("not alike, train.batch_size")


def test_a_preset_of_two_specs_must_be_told_apart(tmp_path: Path) -> None:
    where = tmp_path / "two.db"
    for override in ("train.epochs=1", "train.epochs=2"):
        fill(where, "lora-r12", 0, override)
    code, said = failed("compare", "lora-r12", "dora-r12", "--db", where)
    assert (code, said.splitlines()[0]) == (2, "'lora-r12' matches 2 groups of finished runs:")
    done = cli("compare", "lora-r12 epochs=1", "lora-r12 epochs=2", "--db", where)
    assert "not alike, train.epochs: lora-r12 epochs=1: 1, lora-r12 epochs=2: 2" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["compare", "lora-r12"], 2, "2 to 20 different runs or groups, not 1"),
        (["compare", "lora-r12", "lora-r12"], 2, "not 1"),
        (["compare", "lora-r12", "lora-r12-1"], 2, "both in lora-r12 and in lora-r12-1"),
        (["compare", "lora-r12", "dora-r4"], 3, "no run of dora-r4 has finished: dora-r4-1: running"),
        (["compare", "lora-r12", "dora-r12", "--metric", "sts2"], 2, "did you mean 'sts'"),
        (["compare", "lora-r12", "dora-r12", "--csv", "--json"], 2, "one format at a time, not --json and --csv"),
        (["compare", "lora-r12", "dora-r12", "--workload", "paper"], 3, "on workload paper"),
        (["pareto", "--x", "vrom"], 2, "did you mean 'vram'"),
        (["pareto", "--y", "sst2"], 2, "did you mean 'sst'"),
        (["pareto", "--x", "energy"], 3, "lora-r12: energy of the run: not measured"),
    ],
)
def test_a_mistake_is_told_with_its_code(db: Path, arguments: list[str], code: int, said: str) -> None:
    got, message = failed(*arguments, "--db", db)
    assert (got, said in message) == (code, True), message


@pytest.mark.slow
def test_pareto_takes_all_finished_groups_and_the_memory_there_is(db: Path) -> None:
    done = cli("pareto", "--db", db)
    assert done.exit_code == 0, done.output
    assert "against peak RSS" in done.output
    found = json.loads(cli("pareto", "--json", "--db", db).stdout)
    assert {point["group"] for point in found["points"]} == {"lora-r12", "dora-r12", "last-layer"}
    assert found["x"] == "rss"
    some = json.loads(cli("pareto", "lora-r12", "dora-r12", "--x", "rss", "--y", "sts", "--json", "--db", db).stdout)
    assert (some["y"], len(some["points"])) == ("sts", 2)
    assert "| group |" in cli("pareto", "--markdown", "--db", db).stdout


def test_it_loads_nothing_heavy(db: Path) -> None:
    script = (
        "import sys; sys.argv = ['peftbench', 'compare', 'lora-r12', 'dora-r12', '--db', sys.argv[1]]\n"
        "import peftbench.cli\n"
        "try: peftbench.cli.main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'scipy', 'pandas', 'sqlite_utils') if name in sys.modules])"
    )
    words = [sys.executable, "-c", script, db]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert done.stdout.splitlines()[-1] == "[]"


def test_standings_rank_all_finished_groups(db: Path) -> None:
    done = cli("standings", "--db", db)
    assert done.exit_code == 0, done.output
    assert "not told apart" in done.output and "●" in done.output
    found = json.loads(cli("standings", "--json", "--db", db).stdout)
    assert [row["rank"] for row in found["rows"]] == sorted(row["rank"] for row in found["rows"])
    assert {row["group"] for row in found["rows"]} == {"lora-r12", "dora-r12", "last-layer"}
    assert found["rows"][-1]["group"] == "last-layer"
    values = [row["score"]["value"] for row in found["rows"]]
    assert values == sorted(values, reverse=True)
    some = json.loads(cli("standings", "lora-r12", "last-layer", "-m", "sts", "--json", "--db", db).stdout)
    assert (some["metric"], len(some["rows"])) == ("sts", 2)
    assert "| group |" in cli("standings", "--markdown", "--db", db).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["standings", "-m", "sst2"], 2, "did you mean 'sst'"),
        (["standings", "--workload", "paper"], 3, "no run on workload 'paper' has finished"),
    ],
)
def test_standings_that_cannot_be_made_say_why(db: Path, arguments: list[str], code: int, said: str) -> None:
    done, text = failed(*arguments, "--db", db)
    assert done == code and said in text
