"""`peftbench augment`: the folder for `--data`, the inspected pairs, the quality statistics."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from peftbench.cli import app
from peftbench.data.augment import wordnet
from peftbench.data.augment.quality import words_in_common
from peftbench.data.examples import fingerprint
from peftbench.data.load import load_split, load_test
from peftbench.errors import MissingError, UsageError
from peftbench.spec import resolve
from tests.data.augment.dictionary import write_dictionary
from tests.data.augment.models import tiny_t5

WORKLOAD = """
[encoder]
name = "{encoder}"
pooling = "mean"

[train]
epochs = 1

[tasks.sst.source]
type = "files"
train = "sst-train.csv"
dev = "sst-dev.csv"
test = "sst-test.csv"
separator = "tab"

[tasks.paraphrase.source]
type = "files"
train = "para-train.csv"
dev = "para-dev.csv"

[tasks.sts.source]
type = "files"
train = "deep/sts-train.jsonl"
dev = "deep/sts-dev.jsonl"
"""
SST = ("A truly great film with a good plot .", 'The "plot" is dull , the story boring .', "We watch and see a movie .")
PAIRS = (('a good film, "really"', "we watch a dull film"), ("a great plot", "a grand story"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A folder with a workload file, its data and a dictionary."""
    home = tmp_path_factory.mktemp("study")
    write_dictionary(home / "wordnet")
    (home / "own.toml").write_text(WORKLOAD.format(encoder=tiny_encoder))
    data = home / "data"
    (data / "deep").mkdir(parents=True)
    for split in ("train", "dev"):
        with (data / f"sst-{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow(("", "id", "sentence", "sentiment"))
            texts = SST if split == "train" else ("A film .", "No plot .")
            writer.writerows((n, f"{split}{n}", f" {text}", n) for n, text in enumerate(texts))
        with (data / f"para-{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("id", "sentence1", "sentence2", "is_duplicate"))
            writer.writerows((f"{split}{n}", *pair, n) for n, pair in enumerate(PAIRS))
        with (data / "deep" / f"sts-{split}.jsonl").open("w") as file:
            for n, (first, second) in enumerate(PAIRS):
                row = {"id": f"{split}{n}", "sentence1": first, "sentence2": second, "similarity": n + 0.25}
                file.write(json.dumps(row) + "\n")
    (data / "sst-test.csv").write_text("0\t\tid\tsentence\n0\t7\tt0\t Dull .\n1\t8\tt1\t A movie .\n")
    return home


@pytest.fixture(autouse=True)
def dictionary(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(wordnet.ENVIRONMENT, str(home / "wordnet"))


def augment(home: Path, *words: object) -> Result:
    arguments = ["augment", "-w", str(home / "own.toml"), "--data", str(home / "data"), *map(str, words)]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "80"})


def test_the_folder_is_read_in_place_of_the_data_and_is_what_a_run_would_make(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    result = augment(home, "--out", out)
    assert result.exit_code == 0, result.output
    old, new = (resolve("dora-r12", str(home / "own.toml"), data=[str(data)]).spec for data in (home / "data", out))
    for name in ("sst", "sts"):
        before, after = (load_split(spec.task(name), "train").examples for spec in (old, new))
        assert after[: len(before)] == before
        assert len(before) * 5 < len(after) <= len(before) * 10
    for task in new.tasks:
        assert load_split(task, "dev").fingerprint == load_split(old.task(task.name), "dev").fingerprint
    assert load_test(new.tasks[0]) == load_test(old.tasks[0])
    for kept in ("sst-dev.csv", "sst-test.csv", "para-train.csv", "para-dev.csv", "deep/sts-dev.jsonl"):
        assert (out / kept).read_bytes() == (home / "data" / kept).read_bytes()

    from peftbench.encoder import find_encoder, load_tokenizer
    from peftbench.training.data import load_data
    from tests.recorders import Memory

    inside = resolve("dora-r12", str(home / "own.toml"), data=[str(home / "data")], overrides=["augment.method=eda"])
    files = find_encoder(inside.spec.encoder)
    rows = load_data(inside.spec, load_tokenizer(files), files, Memory()).new_rows
    assert rows["sst"] == fingerprint(load_split(new.task("sst"), "train").examples)
    assert rows["sts"] == fingerprint(load_split(new.task("sts"), "train").examples)


def test_new_rows_say_where_they_are_from_and_the_settings_lie_beside_them(home: Path, tmp_path: Path) -> None:
    assert augment(home, "--out", tmp_path / "out", "--set", "augment.eda.n_aug=4").exit_code == 0
    rows = list(csv.DictReader((tmp_path / "out" / "sst-train.csv").open(), delimiter="\t"))
    assert [row["source_id"] for row in rows[:3]] == ["", "", ""]
    ids = {row["id"]: row for row in rows}
    assert len(ids) == len(rows)
    for row in rows[3:]:
        assert row["operation"] in ("replace", "insert", "swap", "delete")
        assert ids[row["source_id"]]["sentiment"] == row["sentiment"]
    record = json.loads((tmp_path / "out" / "augmentation.json").read_text())
    assert record["augment"]["eda"]["n_aug"] == 4
    assert record["wordnet"] == str(home / "wordnet")
    assert sum(one["rows"] for one in record["tasks"]["sst"]) == len(rows) - 3
    assert all(-1 <= one["similarity"] <= 1.001 for one in record["tasks"]["sst"])


def test_what_is_shown_fits_a_terminal_and_holds_both_texts(home: Path) -> None:
    result = augment(home, "--inspect", "5")
    assert result.exit_code == 0, result.output
    tables = [line for line in result.output.splitlines() if not line.startswith(("similarity:", "note:"))]
    assert max(map(len, tables)) <= 80
    assert "source" in result.output and "words in" in result.output
    assert result.output.count("label ") == 5
    assert "of mean-pooled vectors of" in result.output


def test_the_widest_pair_fits_too() -> None:
    from peftbench.data.augment.rows import NewRow
    from peftbench.data.examples import Example
    from peftbench.report.augmentation import pairs
    from tests.printing import printed

    text = "word " * 30 + "x" * 70
    row = (Example("a", (text, text), 4.875), NewRow("b", (text + " zebra", text), 4.875, "a", "backtranslate"))
    task = resolve("dora-r12").spec.task("paraphrase")
    lines = printed(pairs(task, [row]), 200).splitlines()
    assert 70 < max(map(len, lines)) <= 80
    assert "".join(lines).count("zebra") == 1 and "".join(lines).count("x" * 8) >= 8


def test_json_has_what_is_shown(home: Path) -> None:
    found = json.loads(augment(home, "--json").output)
    assert set(found["tasks"]) == {"sst", "sts"} and found["files"] == []
    assert {one["operation"] for one in found["tasks"]["sst"]} == {"replace", "insert", "swap", "delete"}


def test_back_translation_and_both(home: Path, tmp_path: Path) -> None:
    model = tiny_t5(tmp_path / "t5")
    settings = ["--set", f"augment.backtranslate.model={model}", "--set", "augment.backtranslate.max_new_tokens=6"]
    one, both = (
        json.loads(augment(home, "--json", "--method", method, *settings).output)
        for method in ("backtranslate", "both")
    )
    assert [one["operation"] for one in one["tasks"]["sst"]] == ["backtranslate"]
    assert len(both["tasks"]["sst"]) == 5
    assert len(both["translation_sha256"]) == 64


def test_nothing_is_overwritten(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = augment(home, "--out", tmp_path)
    assert isinstance(result.exception, UsageError) and "not an empty folder" in result.exception.message
    assert isinstance(augment(home, "--out", home / "own.toml").exception, UsageError)


def test_a_workload_without_files_can_be_looked_at_but_not_written(tmp_path: Path, tiny_encoder: Path) -> None:
    sizes = [f"--set=tasks.{task}.source.train=12" for task in ("sst", "sts")]
    quickstart = ["augment", "-w", "quickstart", f"--set=encoder.name={tiny_encoder}", *sizes]
    looked = CliRunner().invoke(app, [*quickstart, "--inspect", "2"])
    assert looked.exit_code == 0 and "swap" in looked.output
    written = CliRunner().invoke(app, [*quickstart, "--out", str(tmp_path / "x")])
    assert isinstance(written.exception, UsageError) and "reads no files" in written.exception.message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"para-train.csv"', '"/somewhere/para.csv"', "is outside the data folder"),
        ('"para-train.csv"', '"../para.csv"', "is outside the data folder"),
        ('"para-dev.csv"', '"sst-dev.csv"', "tasks sst and paraphrase both read a file named 'sst-dev.csv'"),
    ],
)
def test_files_that_cannot_lie_in_one_folder_are_named(
    home: Path, tmp_path: Path, old: str, new: str, said: str
) -> None:
    (tmp_path / "own.toml").write_text((home / "own.toml").read_text().replace(old, new))
    arguments = [
        "augment",
        "-w",
        str(tmp_path / "own.toml"),
        "--data",
        str(home / "data"),
        "--out",
        str(tmp_path / "o"),
    ]
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, UsageError) and said in error.message


def test_without_an_encoder_similarity_is_absent_with_its_reason(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(spec: object, *, local: bool) -> None:
        raise MissingError("encoder x: not here")

    monkeypatch.setattr("peftbench.data.augment.quality.find_encoder", nowhere)
    found = json.loads(augment(home, "--json").output)
    assert found["similarity_by"] is None and found["tasks"]["sst"][0]["similarity"] is None
    assert "no similarity: encoder x: not here" in found["notes"]


def test_words_in_common() -> None:
    assert words_in_common(("A great film .",), ("a film great",)) == 1.0
    assert words_in_common(("a great film",), ("a great movie",)) == pytest.approx(4 / 6)
    assert words_in_common(("so", "so"), ("so", "no")) == 0.5
    assert words_in_common(("?",), ("!",)) == 1.0
