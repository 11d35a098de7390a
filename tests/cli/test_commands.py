"""End-to-end tests of the command line: output, exit codes, pipes, Ctrl-C."""

from __future__ import annotations

import csv
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.inside import inside
from tests.patience import PATIENCE_S
from tests.processes import run_peftbench as cli
from tests.tiny import sets
from tests.worked import worked_here

PEFTBENCH = [sys.executable, "-m", "peftbench"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> tuple[Path, str]:
    """A database with four finished runs, and the output of `run`."""
    db = tmp_path_factory.mktemp("trained") / "runs.db"
    presets = [word for preset in ("last-layer", "full", "lora-r12", "dora-r12") for word in ("--preset", preset)]
    with worked_here():
        done = inside("run", *presets, "--headless", "--db", db, *sets(tiny_encoder))
    assert done.returncode == 0, done.stderr
    return db, done.stdout


@pytest.mark.slow
def test_a_piped_run_prints_a_title_a_line_an_epoch_and_the_comparison(trained: tuple[Path, str]) -> None:
    _, printed = trained
    lines = printed.splitlines()
    assert lines[0].startswith("last-layer-1 (")
    assert "preset last-layer on workload quickstart" in lines[0]
    assert sum(line.startswith("epoch 1/2  dev avg ") for line in lines) == 4
    assert lines.count("scores: accuracy, Pearson r of sts; Dev Avg their mean") == 4
    assert sum(" finished: best epoch " in line for line in lines) == 4
    assert lines.index("verdict") < max(n for n, line in enumerate(lines) if line.startswith("dora-r12-1 "))
    assert lines[-1] == f"again: peftbench compare last-layer-1 full-1 lora-r12-1 dora-r12-1 --db {trained[0]}"
    assert "\x1b" not in printed


@pytest.mark.slow
def test_a_single_run_as_json_is_one_object(tiny_encoder: Path, tmp_path: Path) -> None:
    with worked_here():
        done = inside("run", "-p", "last-layer", "--json", "--db", tmp_path / "x.db", "--seed", 7, *sets(tiny_encoder))
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert (run["state"], run["seed"], run["preset"]) == ("finished", 7, "last-layer")
    assert len(run["scores"]) == 2 * 3 * 2
    assert done.stderr == ""


@pytest.mark.slow
def test_a_trained_run_leaves_as_adapters_and_predicts_the_same_from_another_database(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    db, _ = trained
    done = inside("export", "dora", tmp_path / "adapters", "--format", "peft", "--best", "task", "--db", db)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "adapters" / "peftbench-export.json").read_text())["tasks"]
    assert set(told) == {"sst", "paraphrase", "sts"} and all(task["logits_within"] < 1e-5 for task in told.values())
    assert inside("export", "dora", tmp_path / "run.zip", "--format", "bundle", "--db", db).returncode == 0
    assert inside("import", tmp_path / "run.zip", "--db", tmp_path / "other.db").returncode == 0
    ask = ("predict", "dora", "--task", "sts", "--json", "A plain text.", "Another text.")
    here, there = (inside(*ask, "--db", place).stdout for place in (db, tmp_path / "other.db"))
    assert json.loads(here) == json.loads(there)


@pytest.mark.slow
def test_runs_show_and_their_json_agree(trained: tuple[Path, str]) -> None:
    db, _ = trained
    listed = json.loads(cli("runs", "--json", "--db", db).stdout)
    assert [run["name"] for run in listed] == ["dora-r12-1", "lora-r12-1", "full-1", "last-layer-1"]
    shown = json.loads(cli("show", "lora", "--json", "--db", db).stdout)
    assert shown["id"] == listed[1]["id"]
    assert cli("show", shown["id"][:5], "--json", "--db", db).stdout == cli("show", "lora", "--json", "--db", db).stdout
    page = cli("show", "latest", "--db", db).stdout
    assert page.startswith("dora-r12-1 (")
    assert f"{shown['spec']['workload']}" in page
    table = cli("runs", "--db", db).stdout
    rows, note = table.split("\n\n")
    assert [line.split()[0] for line in rows.splitlines()[2:]] == [run["name"] for run in listed]
    assert " ".join(note.split()) == "dev avg: mean of the tasks at the best epoch; accuracy, Pearson r of sts"


@pytest.mark.slow
def test_show_spec_tells_where_every_value_came_from(trained: tuple[Path, str]) -> None:
    db, _ = trained
    lines = {line.split()[0]: line for line in cli("show", "dora", "--spec", "--db", db).stdout.splitlines() if line}
    assert lines["method.rank"].endswith("preset dora-r12")
    assert lines["train.lr"].endswith("workload quickstart, adjust.dora")
    assert lines["train.epochs"].endswith("--set")
    assert lines["train.batch_size"].endswith("default")


@pytest.mark.slow
def test_compare_prints_scores_cost_and_intervals(trained: tuple[Path, str]) -> None:
    db, _ = trained
    done = cli("compare", "lora-r12-1", "dora-r12-1", "--full", "--db", db)
    assert done.returncode == 0, done.stderr
    assert "dora-r12-1 against lora-r12-1: sst " in " ".join(done.stdout.split())
    assert "training dynamics" in done.stdout
    result = json.loads(cli("compare", "lora", "dora", "--json", "--db", db).stdout)
    assert [run["name"] for run in result["runs"]] == ["lora-r12-1", "dora-r12-1"]
    differences = {d["key"] for d in result["differences"]} - {"busy_machine"}  # the test machine may be busy
    assert differences == {"method.name", "method.norm_axis"}
    (against,) = result["against_baseline"]
    assert {row["name"] for row in against["metrics"]} <= {"sst", "paraphrase", "sts", "dev_avg"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["compare", "lora"], 2, "2 to 20"),
        (["compare", "lora", "lora-r12-1"], 2, "2 to 20 different runs or groups, not 1"),
        (["show", "nobody"], 3, "no run has the id or name 'nobody'"),
        (["show", "l"], 2, "matches 2 runs"),
        (["run", "--preset", "dora-r13"], 2, "did you mean"),
        (["run", "--preset", "full", "--set", "train.epoch=2"], 2, "did you mean 'epochs'"),
        (["run", "--preset", "full", "--set", "train.epochs=none"], 2, "--set"),
        (["run", "--preset", "full", "--workload", "paper"], 3, "--data DIR"),
        (["run"], 2, "--preset"),
        (["presets", "nothing"], 2, "unknown preset"),
        (["workloads", "papr"], 2, "did you mean 'paper'"),
        (["predict", "lora", "--task", "para", "x"], 2, "did you mean 'paraphrase'"),
        (["predict", "lora", "--task", "sts", "one"], 2, "takes 2 texts, not 1"),
        (["predict", "full", "--task", "sst", "--best", "task", "x"], 2, "share weights"),
        (["delete", "nobody", "--yes"], 3, "no run"),
    ],
)
def test_a_users_mistake_ends_in_a_message_and_the_right_code(
    arguments: list[str], code: int, said: str, trained: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEFTBENCH_DB", str(trained[0]))
    done = inside(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_predict_takes_arguments_standard_input_and_files(trained: tuple[Path, str], tmp_path: Path) -> None:
    db, _ = trained
    common = ("predict", "lora", "--db", db)
    one = json.loads(cli(*common, "--task", "sst", "A gorgeous, witty film", "--json").stdout)
    (first,) = one["predictions"]
    assert first["prediction"] in range(5)
    assert 0.2 <= first["probability"] <= 1
    shown = inside(*common, "--task", "sst", "A gorgeous, witty film").stdout
    assert f"{first['probability']:.3f}" in shown
    piped = json.loads(inside(*common, "--task", "sst", "--json", stdin="A gorgeous, witty film\n\nDull.\n").stdout)
    assert piped["predictions"][0]["prediction"] == first["prediction"]
    assert piped["predictions"][0]["probability"] == pytest.approx(first["probability"], abs=1e-5)
    assert len(piped["predictions"]) == 2
    pair = json.loads(inside(*common, "--task", "sts", "--best", "task", "A cat.", "A dog.", "--json").stdout)
    assert "probability" not in pair["predictions"][0]
    (tmp_path / "in.csv").write_text("sentence1,note,sentence2\nA cat.,x,A dog.\nYes.,y,No.\n")
    done = inside(*common, "--task", "paraphrase", "--file", tmp_path / "in.csv", "--out", tmp_path / "out.csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [row["note"] for row in rows] == ["x", "y"]
    assert all(row["prediction"] in "01" and 0.5 <= float(row["probability"]) <= 1 for row in rows)
    bad = inside(*common, "--task", "sts", stdin="only one text\n")
    assert (bad.returncode, "separated by a tab" in bad.stderr) == (3, True)


@pytest.mark.slow
def test_delete_takes_rows_and_files_and_asks_first(tiny_encoder: Path, tmp_path: Path) -> None:
    db = tmp_path / "x.db"
    with worked_here():
        assert inside("run", "-p", "last-layer", "--db", db, *sets(tiny_encoder)).returncode == 0
    (folder,) = (path for path in (tmp_path / "x.db-runs").iterdir() if path.is_dir())
    assert cli("delete", "latest", "--db", db, stdin="n\n").returncode == 1
    assert folder.is_dir()
    assert cli("delete", "latest", "--db", db, "--yes").returncode == 0
    assert not folder.exists()
    with sqlite3.connect(db) as connection:
        for table in ("runs", "epochs", "scores", "predictions", "phases", "events", "losses"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


@pytest.mark.slow
def test_runs_of_different_workloads_are_not_compared(trained: tuple[Path, str], tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with sqlite3.connect(trained[0]) as source, sqlite3.connect(copy) as target:
        source.backup(target)
        target.execute("UPDATE runs SET workload = 'paper' WHERE name = 'full-1'")
    target.close()
    done = cli("compare", "full", "lora", "--db", copy)
    assert (done.returncode, "different workloads: paper, quickstart" in done.stderr) == (4, True)


@pytest.mark.slow
def test_ctrl_c_leaves_the_run_stopped_with_its_finished_epochs(tiny_encoder: Path, tmp_path: Path) -> None:
    db = tmp_path / "x.db"
    arguments = ["run", "-p", "lora-r12", "--headless", "--db", str(db), *sets(tiny_encoder, "train.epochs=500")]
    process = subprocess.Popen([*PEFTBENCH, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "stopped: asked to stop" in errors
    assert "hint: resume it: peftbench resume lora-r12-1" in errors
    run = json.loads(cli("show", "--json", "--db", db).stdout)
    assert run["state"] == "stopped"
    assert run["epochs_done"] == len(run["epochs"]) >= 1


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """Run a command on a pseudo-terminal and return its output."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*PEFTBENCH, *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environment},
    )
    os.close(follower)
    written = b""
    while True:
        try:
            block = os.read(leader, 65536)
        except OSError:
            break
        if not block:
            break
        written += block
    process.wait()
    os.close(leader)
    return written.decode()


@pytest.mark.slow
def test_a_terminal_gets_bars(tiny_encoder: Path, tmp_path: Path) -> None:
    coloured = on_a_terminal("run", "-p", "last-layer", "--db", str(tmp_path / "x.db"), *sets(tiny_encoder))
    assert "epoch 1/2  dev avg" in coloured
    assert "━" in coloured
    assert "last-layer-1 finished" in coloured


@pytest.mark.slow
@pytest.mark.parametrize("asked", [{"NO_COLOR": "1"}, pytest.param({"TERM": "dumb"}, marks=pytest.mark.soak)])
def test_a_terminal_gets_plain_lines_where_it_asks_for_them(
    asked: dict[str, str], tiny_encoder: Path, tmp_path: Path
) -> None:
    plain = on_a_terminal("run", "-p", "last-layer", "--db", str(tmp_path / "x.db"), *sets(tiny_encoder), **asked)
    assert "\x1b" not in plain
    assert "last-layer-1 finished" in plain


def test_a_store_without_runs_says_how_to_start(tmp_path: Path) -> None:
    empty = cli("runs", PEFTBENCH_DB=str(tmp_path / "none.db"))
    assert "peftbench run --preset lora-r12" in empty.stdout
    assert not (tmp_path / "none.db").exists()


@pytest.mark.slow
def test_catalogues_list_and_show(trained: tuple[Path, str]) -> None:
    methods = {method["name"]: method for method in json.loads(inside("methods", "--json").stdout)}
    assert methods["dora"]["runtimes"] == ["native", "transformers", "peft"]
    assert all(method["installed"] for method in methods.values())
    assert "peft      " in inside("methods").stdout
    names = [preset["name"] for preset in json.loads(inside("presets", "--json").stdout)]
    ranks = ["dora-r1", "dora-r4", "dora-r12", "dora-r24", "dora-r128"]
    assert [name for name in names if name in ranks] == ranks
    assert json.loads(inside("presets", "dora-r24", "--json").stdout)["method"] == {"name": "dora", "rank": 24}
    assert 'name = "google-bert/bert-base-uncased"' in inside("workloads", "paper").stdout
    assert "quickstart" in inside("workloads").stdout


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_error(trained: tuple[Path, str]) -> None:
    line = f"{sys.executable} -m peftbench show latest --json --db {trained[0]} | head -c 20"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.slow
def test_help_says_what_each_command_does() -> None:
    text = cli("--help").stdout
    for command in ("run", "runs", "show", "compare", "predict", "delete", "presets", "workloads", "methods"):
        assert f"\n  {command}" in text
        assert inside(command, "--help").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--phases", "--memory"), "one of these at a time: --phases, --memory"),
        (("--reach", "40"), "scores lie between -1 and 1"),
        (("--reach", "sst=nan"), "scores lie between -1 and 1"),
        (("--reach", "sst=abc"), "is not a number"),
        (("--reach", "ssst=0.4"), "did you mean 'sst'"),
    ],
)
def test_show_refuses_what_it_cannot_mean(trained: tuple[Path, str], words: tuple[str, ...], said: str) -> None:
    db, _ = trained
    done = inside("show", "lora-r12-1", *words, "--db", db)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize("words", [("--meter-gpu", "3"), ("--lock-clocks", "1500")])
def test_a_card_that_is_not_there_is_told_before_a_run_is_made(tmp_path: Path, words: tuple[str, str]) -> None:
    from peftbench.meters.nvml_library import open_nvml

    if open_nvml()[0] is not None:
        pytest.skip("there is a card here")
    db = tmp_path / "runs.db"
    done = cli("run", "-p", "lora-r12", *words, "--db", db)
    assert done.returncode == 3, done.stderr
    assert " ".join(words) in done.stderr
    assert not db.exists()
