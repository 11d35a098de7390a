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
    with pytest.raises(MissingError, match="has no split 'tset'; its splits: train, validation") as caught:
        load_split(task(repository, dev="tset"), "dev")
    assert "--set tasks.sst.source.dev=" in caught.value.hint and "network" not in caught.value.hint


@pytest.mark.parametrize("dev", ["validation", "validation[:50%]"])
def test_a_data_set_without_a_dev_split_names_those_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dev: str
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "repository"
    repository.mkdir()
    for name in ("train", "test"):
        (repository / f"{name}.csv").write_text("text,label\n fine ,4\nbad,0\n")
    with pytest.raises(MissingError, match="its splits: train, test") as caught:
        load_split(task(repository, dev=dev), "dev")
    assert "source.dev=test" in caught.value.hint


def test_a_data_set_that_cannot_be_had_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # no waiting between retries without a network
    with pytest.raises(MissingError, match="no-such/data-set, split 'train', cannot be read from the hub"):
        load_split(task("no-such/data-set"), "train")


def test_the_glue_workload_names_the_hubs_columns() -> None:
    spec = resolve("lora-r12", "glue").spec
    sst, paraphrase, sts = spec.tasks
    assert (sst.source.path, sst.text, sst.label, sst.id) == ("SetFit/sst5", ("text",), "label", "")
    assert (paraphrase.source.config, paraphrase.text) == ("qqp", ("question1", "question2"))
    assert (sts.source.config, sts.text, sts.label) == ("stsb", ("sentence1", "sentence2"), "label")
