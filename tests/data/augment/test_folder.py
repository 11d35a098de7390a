"""The folder written by `--out` is read back unchanged, for every source format."""

from __future__ import annotations

from pathlib import Path

import pytest

from peftbench.data.augment.folder import check_folder, write_folder
from peftbench.data.augment.rows import NewRow
from peftbench.data.load import load_split
from peftbench.errors import UsageError
from peftbench.spec import RunSpec, resolve

WORKLOAD = """
[encoder]
name = "x"
[tasks.own]
kind = "classes"
classes = 2
text = ["text"]
label = "mood"
[tasks.own.source]
type = "files"
train = "{name}"
dev = "dev.tsv"
quoting = "{quoting}"
"""


def spec_of(folder: Path, quoting: str = "auto", name: str = "train.tsv") -> RunSpec:
    (folder / "own.toml").write_text(WORKLOAD.format(quoting=quoting, name=name))
    return resolve("full", str(folder / "own.toml"), data=[str(folder)]).spec


@pytest.mark.parametrize("quoting", ["auto", "minimal", "none"])
def test_texts_with_quotes_and_labels_that_are_texts(tmp_path: Path, quoting: str) -> None:
    text = 'He said "no"' if quoting != "minimal" else '"He said ""no"""'
    (tmp_path / "train.tsv").write_text(f"text\tmood\n{text}\tgood\nplain\tbad\n")
    (tmp_path / "dev.tsv").write_text("text\tmood\nother\tgood\n")
    spec = spec_of(tmp_path, quoting)
    examples = load_split(spec.tasks[0], "train").examples
    new = [NewRow("new", ('"quoted" and\ttab',), 1.0, examples[0].id, "swap")]
    write_folder(tmp_path / "out", spec, {"own": (examples, new)}, {})
    own = spec.tasks[0]
    moved = own.model_copy(update={"source": own.source.model_copy(update={"root": str(tmp_path / "out")})})
    split = load_split(moved, "train")
    tab = " " if quoting == "none" else "\t"
    assert [(e.texts[0], e.label) for e in split.examples] == [
        ('He said "no"', 1.0),
        ("plain", 0.0),
        (f'"quoted" and{tab}tab', 1.0),
    ]
    assert split.label_names == ("bad", "good")
    assert [e.label for e in load_split(moved, "dev").examples] == [1.0]


@pytest.mark.parametrize("name", ["train-*.tsv", "train.tsv.gz"])
def test_files_that_the_folder_cannot_hold_are_refused_first(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="only single, uncompressed files"):
        check_folder(tmp_path / "out", spec_of(tmp_path, name=name))
