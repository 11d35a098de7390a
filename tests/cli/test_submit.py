"""`peftbench submit`: six files in the course's format, parsed by an independent reader."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from peftbench.cli import app
from peftbench.errors import MissingError, UsageError
from peftbench.study.submission import content
from tests.cli.inside import inside
from tests.processes import run_peftbench as cli
from tests.worked import worked_here

NAMES = [f"{task}-{split}-output.csv" for task in ("sst", "para", "sts") for split in ("dev", "test")]
HEADERS = {
    "sst": b"id \t Predicted_Sentiment \n",
    "para": b"id \t Predicted_Is_Paraphrase \n",
    "sts": b"id \t Predicted_Similiary \n",
}
VALUES = {"sst": r"[0-4]", "para": r"[01]\.0", "sts": r"-?\d+(?:\.\d+)?(?:e-?\d+)?"}
TEXTS = ("a fine film", "a dull film", "the story is slow", "grand", "so so", "we saw it", "never again", "a plot")
ROWS = {"train": 8, "dev": 6, "test": 5}


def course_data(folder: Path) -> Path:
    """Write files in the course's format: tab-separated, an unnamed index column (two in SST's test file)."""
    for split, count in ROWS.items():
        ids = [f"{split}{n:021x}" for n in reversed(range(count))]
        tables = {
            f"ids-sst-{split}.csv": [(TEXTS[n],) for n in range(count)],
            f"quora-{split}.csv": [(TEXTS[n], TEXTS[-n]) for n in range(count)],
            f"sts-{split}.csv": [(TEXTS[n], f'"{TEXTS[-n]}"') for n in range(count)],
        }
        for name, texts in tables.items():
            column = {"i": "sentiment", "q": "is_duplicate", "s": "similarity"}[name[0]]
            labels = {"i": [0, 1, 2, 3, 4, 0, 1, 2], "q": [0.0, 1.0] * 4, "s": [0.0, 5.0, 2.4, 1.0, 3.2, 4.0, 0.5, 2.0]}
            is_test = split == "test"
            header = [*(["0", ""] if is_test and name[0] == "i" else [""]), "id"]
            header += ["sentence"] if name[0] == "i" else ["sentence1", "sentence2"]
            indices = len(header) - 1 - len(texts[0])
            if is_test:
                name = name.replace(".csv", "-student.csv")
            with (folder / name).open("w", newline="") as file:
                writer = csv.writer(file, delimiter="\t", lineterminator="\n")
                writer.writerow([*header, *([] if is_test else [column])])
                for n, (row_id, row) in enumerate(zip(ids, texts, strict=True)):
                    label = [] if is_test else [labels[name[0]][n]]
                    writer.writerow([*[n] * indices, row_id, *row, *label])
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A folder with a small version of the course's data and a finished run on it."""
    home = tmp_path_factory.mktemp("course")
    data = course_data(home)
    with worked_here():
        done = inside(
            *("run", "-p", "lora-r12", "-w", "paper-mini", "--data", data, "--db", home / "runs.db", "--headless"),
            *("--set", f"encoder.name={tiny_encoder}", "--set", "train.epochs=2", "--set", "eval.train_examples=4"),
        )
    assert done.returncode == 0, done.stderr
    return home


def submit(home: Path, *words: object) -> Result:
    return CliRunner().invoke(app, ["submit", "latest", "--db", str(home / "runs.db"), *map(str, words)])


def read(path: Path) -> list[tuple[str, str]]:
    """Parse a file as the course's leaderboard might: an exact header, then `id , value ` lines."""
    task = path.name.partition("-")[0]
    data = path.read_bytes()
    assert data.startswith(HEADERS[task])
    lines = data[len(HEADERS[task]) :].decode("ascii").split("\n")
    assert lines.pop() == ""
    found = [re.fullmatch(rf"(\S+) , ({VALUES[task]}) ", line) for line in lines]
    assert all(found), lines
    return [(match[1], match[2]) for match in found]


def ids_of(path: Path) -> list[str]:
    return [row["id"] for row in csv.DictReader(path.open(), delimiter="\t")]


@pytest.mark.slow
def test_six_files_with_every_id_in_order(home: Path, tmp_path: Path) -> None:
    result = submit(home, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(NAMES)
    sources = {"sst": "ids-sst", "para": "quora", "sts": "sts"}
    for name in NAMES:
        task, split, _ = name.split("-")
        source = f"{sources[task]}-{split}{'-student' * (split == 'test')}.csv"
        assert [row_id for row_id, _ in read(tmp_path / "out" / name)] == ids_of(home / source)


@pytest.mark.slow
def test_the_scores_of_dev_are_those_of_the_file_and_of_the_run(home: Path, tmp_path: Path) -> None:
    found = json.loads(submit(home, "--out", tmp_path / "out", "--json").output)
    run = json.loads(cli("show", "latest", "--json", "--db", home / "runs.db").stdout)
    assert found["dev"]["leaderboard"] == pytest.approx(run["leaderboard"], abs=1e-6)
    assert found["dev"]["average"] == pytest.approx(run["dev_avg"], abs=1e-6)
    assert found["test"] == {"average": None, "leaderboard": None}
    labels = {
        row["id"]: float(row["sentiment"]) for row in csv.DictReader((home / "ids-sst-dev.csv").open(), delimiter="\t")
    }
    written = read(tmp_path / "out" / "sst-dev-output.csv")
    accuracy = np.mean([float(value) == labels[row_id] for row_id, value in written])
    assert next(one["score"] for one in found["files"] if one["file"] == "sst-dev-output.csv") == accuracy
    similarity = {
        row["id"]: float(row["similarity"]) for row in csv.DictReader((home / "sts-dev.csv").open(), delimiter="\t")
    }
    pairs = [(float(value), similarity[row_id]) for row_id, value in read(tmp_path / "out" / "sts-dev-output.csv")]
    score = next(one["score"] for one in found["files"] if one["file"] == "sts-dev-output.csv")
    assert score == pytest.approx(np.corrcoef(*zip(*pairs, strict=True))[0, 1], abs=1e-5)


@pytest.mark.slow
def test_dev_rows_without_a_label_or_a_text_are_predicted_and_the_labelled_ones_scored(
    home: Path, tmp_path: Path
) -> None:
    """The run skipped them, but the course expects every id of its file."""
    holes = tmp_path / "data"
    holes.mkdir()
    for path in home.glob("*.csv"):
        (holes / path.name).write_bytes(path.read_bytes())
    rows = [line.split("\t") for line in (home / "quora-dev.csv").read_text().splitlines()]
    extra = [
        ["6", "nolabel", "a fine film", "grand", ""],
        ["7", "notext", "", "grand", "1.0"],
        ["8", "none", "", "", ""],
    ]
    lines = [rows[0], extra[0], *rows[1:4], extra[1], *rows[4:], extra[2]]
    (holes / "quora-dev.csv").write_text("".join("\t".join(line) + "\n" for line in lines))
    result = submit(home, "--out", tmp_path / "out", "--data", holes, "--json")
    assert result.exit_code == 0, result.output
    written = dict(read(tmp_path / "out" / "para-dev-output.csv"))
    assert list(written) == [line[1] for line in lines[1:]]
    labels = {line[1]: float(line[4]) for line in lines[1:] if line[4]}
    found = next(one for one in json.loads(result.output)["files"] if one["file"] == "para-dev-output.csv")
    assert (found["rows"], found["labelled"]) == (len(lines) - 1, len(labels))
    assert found["score"] == np.mean([float(written[row_id]) == label for row_id, label in labels.items()])
    shown = submit(home, "--out", tmp_path / "again", "--data", holes).output
    assert "(7 labelled)" in shown and "dev: leaderboard" in shown


@pytest.mark.slow
def test_the_table_says_what_was_written(home: Path, tmp_path: Path) -> None:
    output = submit(home, "--out", tmp_path / "out").output
    assert "dev: leaderboard 0." in output and "no labels" in output
    assert max(len(line) for line in output.splitlines()[1:-1]) <= 80


@pytest.mark.slow
def test_a_test_file_with_labels_is_scored_too(home: Path, tmp_path: Path) -> None:
    arguments = [
        f"--test={task}={home / name}"
        for task, name in (("sst", "ids-sst-dev.csv"), ("paraphrase", "quora-dev.csv"), ("sts", "sts-dev.csv"))
    ]
    found = json.loads(submit(home, "--out", tmp_path / "out", "--json", *arguments).output)
    assert found["test"] == found["dev"]
    assert (tmp_path / "out" / "sst-test-output.csv").read_bytes() == (
        tmp_path / "out" / "sst-dev-output.csv"
    ).read_bytes()


@pytest.mark.slow
def test_each_task_may_have_its_own_best_epoch(home: Path, tmp_path: Path) -> None:
    found = json.loads(submit(home, "--out", tmp_path / "out", "--json", "--best", "task").output)
    run = json.loads(cli("show", "latest", "--json", "--db", home / "runs.db").stdout)
    best = {one["task"]: one["epoch"] for one in run["task_bests"]}
    assert {one["task"]: one["epoch"] for one in found["files"]} == best


@pytest.mark.slow
def test_what_is_missing_is_named_before_anything_is_written(home: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in home.glob("*.csv"):
        if path.name != "quora-test-student.csv":
            (bare / path.name).write_bytes(path.read_bytes())
    error = submit(home, "--out", tmp_path / "out", "--data", bare).exception
    assert isinstance(error, MissingError)
    assert "para-test-output.csv: task paraphrase:" in error.message and "quora-test-student.csv" in error.message
    assert "--skip-missing" in error.hint and not (tmp_path / "out").exists()
    result = submit(home, "--out", tmp_path / "out", "--data", bare, "--skip-missing")
    assert result.exit_code == 0
    assert "not written: para-test-output.csv" in result.output and "dev: leaderboard" in result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(set(NAMES) - {"para-test-output.csv"})


@pytest.mark.slow
@pytest.mark.parametrize("words", [("--test", "sst"), ("--test", "ssst=x"), ("--data", "ssst=x"), ("--test", "=x")])
def test_mistakes_in_options_name_the_tasks(home: Path, tmp_path: Path, words: tuple[str, str]) -> None:
    error = submit(home, "--out", tmp_path / "out", *words).exception
    assert isinstance(error, UsageError) and "sst, paraphrase, sts" in error.hint


@pytest.mark.slow
def test_nothing_is_overwritten(home: Path, tmp_path: Path) -> None:
    (tmp_path / "sts-dev-output.csv").write_text("mine")
    error = submit(home, "--out", tmp_path).exception
    assert isinstance(error, UsageError) and "sts-dev-output.csv exists already" in error.message
    assert [path.name for path in tmp_path.iterdir()] == ["sts-dev-output.csv"]


def test_the_bytes_are_those_of_the_courses_program() -> None:
    """The course writes f"{id} , {value} \\n" with numpy int64, rounded float32 and float32."""
    for value in (np.float32(2.3456789), np.float32(1e-5), np.float32(-0.25), np.float32(5)):
        assert content("sts", {"a": float(value)}) == f"id \t Predicted_Similiary \na , {value} \n".encode()
    for value in (np.float32(0), np.float32(1)):
        assert content("paraphrase", {"a": float(value)}) == f"id \t Predicted_Is_Paraphrase \na , {value} \n".encode()
    for value in np.arange(5):
        assert content("sst", {"a": float(value)}) == f"id \t Predicted_Sentiment \na , {value} \n".encode()
    assert content("sts", {"a": 2.5, "b": 3.0}) == b"id \t Predicted_Similiary \na , 2.5 \nb , 3.0 \n"
