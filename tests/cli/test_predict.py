"""`peftbench predict`: reads files as training does, and overwrites nothing."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from peftbench.cli import app
from peftbench.errors import DataError, MissingError, UsageError
from tests.cli.inside import inside
from tests.processes import run_peftbench as cli
from tests.worked import worked_here

WORKLOAD = """
[encoder]
name = "{encoder}"
max_length = 16
[tasks.mood]
kind = "classes"
classes = 3
text = ["sentence"]
label = "mood"
[tasks.mood.source]
type = "files"
separator = "semicolon"
train = "train.csv"
dev = "train.csv"
"""
MOODS = {"fine": "good", "dull": "bad", "so": "fair"}
ROWS = [(f"a {word} film; number {n}", mood) for n in range(4) for word, mood in MOODS.items()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A folder with a semicolon-separated file with text labels, and a finished run on it."""
    home = tmp_path_factory.mktemp("predict")
    with (home / "train.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(("sentence", "mood"))
        writer.writerows(ROWS)
    (home / "own.toml").write_text(WORKLOAD.format(encoder=tiny_encoder))
    with worked_here():
        done = inside(
            *("run", "-p", "last-layer", "-w", home / "own.toml", "--data", home, "--db", home / "runs.db"),
            *("--headless", "--set", "train.epochs=1", "--set", "eval.train_examples=4"),
        )
    assert done.returncode == 0, done.stderr
    return home


def predict(home: Path, *words: object, stdin: bytes | None = None) -> Result:
    words = ("predict", "latest", "--db", home / "runs.db", "--task", "mood", *words)
    return CliRunner().invoke(app, list(map(str, words)), input=stdin)


def written(home: Path, file: Path, *words: object) -> list[dict[str, str]]:
    out = file.parent / "out.csv"
    result = predict(home, "--file", file, "--out", out, *words)
    assert result.exit_code == 0, result.exception
    with out.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.slow
def test_the_runs_own_file_is_read_as_training_read_it(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "train.csv"
    copy.write_bytes((home / "train.csv").read_bytes())
    rows = written(home, copy)
    assert [(row["sentence"], row["mood"]) for row in rows] == ROWS
    names = ["bad", "fair", "good"]  # text labels are sorted
    assert all(row["prediction_label"] == names[int(row["prediction"])] for row in rows)
    shown = json.loads(cli("show", "latest", "--json", "--db", home / "runs.db").stdout)
    assert shown["conditions"]["label_names"] == {"mood": names}
    assert shown["conditions"]["data_read"]["mood/train"] == {
        "lines": 13,
        "rows": 12,
        "separator": "semicolon",
        "quoting": "minimal",
        "encoding": "utf-8",
    }
    (note,) = shown["conditions"]["data_notes"]
    assert (note["task"], note["name"]) == ("mood", "dev_is_train")
    told = cli("show", "latest", "--db", home / "runs.db").stdout
    assert (
        "mood: dev and train are the same 12 examples" in told
        and "labels are texts: bad = 0, fair = 1, good = 2" in told
    )
    one = predict(home, "  a fine film ").output
    assert any(f"{n} {name}" in one for n, name in enumerate(names))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "sentence;note\nfine;x\n"),
        ("x.csv", "sentence,note\nfine,x\n"),
        ("x.csv", "\tsentence\tnote\n0\tfine\tx\n"),
        ("x.csv", '"a\tb";sentence;note\n0;fine;x\n'),
        ("x.csv", '"a\tb",sentence,note\n0,fine,x\n'),
        ("x.tsv", "sentence\tnote\n fine \tx\n"),
        ("x.jsonl", '{"sentence": "fine", "note": "x"}\n'),
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_files_of_other_kinds(home: Path, tmp_path: Path, name: str, content: str, compress: bool) -> None:
    data = content.encode()
    path = tmp_path / (name + ".gz" * compress)
    path.write_bytes(gzip.compress(data) if compress else data)
    (row,) = written(home, path)
    assert (row["sentence"].strip(), row["note"]) == ("fine", "x") and row["prediction"] in "012"


@pytest.mark.slow
def test_new_columns_take_free_names(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("sentence;prediction;probability_1\nfine;mine;too\n")
    (row,) = written(home, path)
    assert list(row) == [
        *("sentence", "prediction", "probability_1", "prediction_2", "probability_2", "prediction_label_2")
    ]
    assert (row["prediction"], row["probability_1"]) == ("mine", "too")


@pytest.mark.slow
def test_nothing_is_written_over(home: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "x.csv", tmp_path / "out.csv"
    path.write_text("sentence\nfine\n")
    out.write_text("mine")
    error = predict(home, "--file", path, "--out", out).exception
    assert isinstance(error, UsageError) and "--force" in error.hint and out.read_text() == "mine"
    (tmp_path / "link.csv").symlink_to(path)
    os.link(path, tmp_path / "hard.csv")
    for same in (path, tmp_path / "link.csv", tmp_path / "hard.csv", tmp_path / ".." / tmp_path.name / "x.csv"):
        for force in ([], ["--force"]):
            error = predict(home, "--file", path, "--out", same, *force).exception
            assert isinstance(error, UsageError) and "is the input file" in error.message
    assert path.read_text() == "sentence\nfine\n"
    assert predict(home, "--file", path, "--out", out, "--force").exit_code == 0
    assert out.read_text().startswith("sentence,prediction")
    assert isinstance(predict(home, "--file", path, "--out", tmp_path).exception, UsageError)
    assert isinstance(predict(home, "--file", path, "--out", tmp_path / "no" / "x.csv").exception, MissingError)


@pytest.mark.slow
def test_a_file_that_breaks_half_way_leaves_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peftbench.cli.predict_input.CHUNK", 2)
    path, out = tmp_path / "x.csv", tmp_path / "out.csv"
    path.write_text("sentence;a\n" + "fine;1\n" * 5)
    assert len(written(home, path)) == 5
    out.write_text("before")
    path.write_text("sentence;a\n" + "fine;1\n" * 5 + "fine\n")
    error = predict(home, "--file", path, "--out", out, "--force").exception
    assert isinstance(error, DataError) and "line 7: 1 fields" in error.message
    assert out.read_text() == "before"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out.csv", "x.csv"]


@pytest.mark.slow
def test_rows_without_text_have_no_prediction_and_cut_ones_are_counted(home: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "x.jsonl", tmp_path / "out.csv"
    texts: list[Any] = ["fine", None, float("nan"), " ", "word " * 40]
    path.write_text("".join(json.dumps({"sentence": text}) + "\n" for text in texts) + '{"other": 1}\n')
    result = predict(home, "--file", path, "--out", out)
    assert "1 of 2 inputs cut to 16 tokens" in result.output and "4 rows have no text" in result.output
    rows = list(csv.DictReader(out.open()))
    assert [bool(row["prediction"]) for row in rows] == [True, False, False, False, True, False]
    found = json.loads(predict(home, "--file", path, "--json").output)
    assert found["cut"] == 1 and [one["texts"] for one in found["predictions"]][:4] == [["fine"], [""], [""], [""]]
    assert found["predictions"][1]["prediction"] is None
    assert (found["divided"], found["windows"], found["empty"]) == (0, 0, 0)


@pytest.mark.slow
def test_what_the_tokeniser_leaves_nothing_of_is_predicted_and_counted(home: Path) -> None:
    lines = "fine\n\u200b\n\u0301\x00\n".encode()
    assert "2 of 3 inputs have no content after the tokeniser" in predict(home, "-", stdin=lines).output
    answer = json.loads(predict(home, "-", "--json", stdin=lines).output)
    assert answer["empty"] == 2 and answer["predictions"][1]["probability"] == pytest.approx(
        answer["predictions"][2]["probability"]
    )


@pytest.mark.slow
def test_cells_run_no_formula_and_no_escape_unless_asked(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    cells = ["=1+1", "+a", "-a", "@user", "-1.5", "\x1b[31mred\x07", "plain", "\ud83d"]
    path.write_text("".join(json.dumps({"sentence": "fine", "=note": cell}) + "\n" for cell in cells))
    rows = written(home, path)
    assert [row["'=note"] for row in rows] == [
        *("'=1+1", "'+a", "'-a", "'@user", "-1.5", "[31mred", "plain", "\\ud83d")
    ]
    raw = written(home, path, "--force", "--raw-cells")
    assert [row["=note"] for row in raw] == [*cells[:-1], "\\ud83d"]


@pytest.mark.slow
@pytest.mark.parametrize("data", [b"fine\nbad \xe9\n", b"fine\n\xff\n"])
def test_standard_input_that_is_not_utf8_names_the_line(home: Path, data: bytes) -> None:
    error = predict(home, stdin=data).exception
    assert isinstance(error, DataError) and "standard input, line 2: not UTF-8" in error.message


@pytest.mark.slow
def test_standard_input_is_stripped_and_blank_lines_are_none(home: Path) -> None:
    found = json.loads(predict(home, "--json", stdin="\ufeff fine \r\n\n  \ndull\n".encode()).output)
    assert [one["texts"] for one in found["predictions"]] == [["fine"], ["dull"]]
    assert isinstance(predict(home, stdin=b"\n").exception, MissingError)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "  ", os.fsdecode(b"bad \xe9")])
def test_an_argument_that_is_empty_or_not_utf8(home: Path, text: str) -> None:
    assert isinstance(predict(home, text).exception, UsageError)


@pytest.mark.slow
def test_a_missing_column_and_a_missing_file_are_told(home: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("sentense;a\nx;y\n")
    error = predict(home, "--file", tmp_path / "x.csv").exception
    assert isinstance(error, DataError) and "did you mean 'sentense'" in error.message
    for name in ("none.csv", "x" * 600):
        assert isinstance(predict(home, "--file", tmp_path / name).exception, MissingError)
