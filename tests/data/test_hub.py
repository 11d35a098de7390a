"""The hub's code path, with the real `datasets` library on a folder that looks like a repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from peftbench.data.load import load_split
from peftbench.errors import MissingError
from peftbench.spec import resolve
from peftbench.tasks import HubSource, TaskSpec


def task(path: object, **extra: str) -> TaskSpec:
    source = HubSource(path=str(path), **extra)
    return TaskSpec(name="sst", kind="classes", classes=5, text=("text",), label="label", source=source)


def test_rows_of_a_data_set_become_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "train.csv").write_text("text,label\n fine ,4\nbad,0\n")
    (repository / "validation.csv").write_text("text,label\nso so,2\n")
    train = load_split(task(repository), "train")
    assert [(e.id, e.texts, e.label) for e in train.examples] == [("1", ("fine",), 4.0), ("2", ("bad",), 0.0)]
    assert len(load_split(task(repository), "dev").examples) == 1
    with pytest.raises(MissingError, match="split 'tset', cannot be read from the hub"):
        load_split(task(repository, dev="tset"), "dev")


def test_a_data_set_that_cannot_be_had_says_so() -> None:
    with pytest.raises(MissingError, match="no-such/data-set, split 'train', cannot be read from the hub"):
        load_split(task("no-such/data-set"), "train")


def test_the_glue_workload_names_the_hubs_columns() -> None:
    spec = resolve("lora-r12", "glue").spec
    sst, paraphrase, sts = spec.tasks
    assert (sst.source.path, sst.text, sst.label, sst.id) == ("SetFit/sst5", ("text",), "label", "")
    assert (paraphrase.source.config, paraphrase.text) == ("qqp", ("question1", "question2"))
    assert (sts.source.config, sts.text, sts.label) == ("stsb", ("sentence1", "sentence2"), "label")
