"""The hub's code path, with the real `datasets` library on a folder like a repository, and on a cache like its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from peftbench.data.load import load_split
from peftbench.errors import DataError, MissingError
from peftbench.spec import read_recipe, resolve, shipped
from peftbench.tasks import HubSource, TaskSpec
from tests.data.hub_cache import (
    COMMIT,
    CONLL_TAGS,
    GLUE,
    GLUE_PATH,
    fill,
    fill_banking,
    fill_conll,
    fill_emotions,
    fill_glue,
)

OTHER_COMMIT = "f" * 40


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


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache of `datasets`, which is read without a network; empty."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    return tmp_path


def of_workload(workload: str, name: str, *overrides: str) -> TaskSpec:
    found = resolve("lora-r12", workload, overrides=overrides).spec.task(name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", GLUE)
@pytest.mark.parametrize("workload", ["glue", "glue-{}"])
def test_the_glue_workloads_read_the_columns_of_the_hub(cache: Path, workload: str, name: str) -> None:
    fill_glue(cache, tasks=[name])
    task = of_workload(workload.format(name), name)
    _, label = GLUE[name]
    for split, words in (("train", "of train"), ("dev", "of dev_matched" if name == "mnli" else "of dev")):
        read = load_split(task, split)
        assert read.label_names == (None if name == "stsb" else tuple(label.names))
        assert len(read.examples) == 6 * (3 if name in ("mnli", "stsb") else 2)
        for number, example in enumerate(read.examples):
            kind = f"{example.label:.1f}" if name == "stsb" else f"{example.label:.0f}"
            assert example.id == str(number)
            assert [text.split(maxsplit=1)[1] for text in example.texts] == [
                f"{number} {words} is of kind {kind}" for _ in task.text
            ]


def test_banking77_has_every_intent_in_both_splits(cache: Path) -> None:
    task = of_workload("banking77", "intents")
    assert task.labels is not None and len(task.labels) == 77
    fill_banking(cache, task.labels)
    train, dev = load_split(task, "train"), load_split(task, "dev")
    assert train.label_names == task.labels
    assert {example.label for example in train.examples} == {example.label for example in dev.examples} == {*range(77)}


@pytest.mark.parametrize("named", [True, False])
def test_conll2003_has_tags_by_name_whether_the_data_set_names_them_or_not(cache: Path, named: bool) -> None:
    rows = {
        "train": [
            {"tokens": ["EU", "met", "Ada", "Byron"], "ner_tags": [3, 0, 1, 2]},
            {"tokens": [], "ner_tags": []},
        ],
        "validation": [{"tokens": ["In", "Oslo"], "ner_tags": [0, 5]}],
        "test": [{"tokens": ["A", "Nordic", "test"], "ner_tags": [0, 7, 8]}],
    }
    fill_conll(cache, rows, named)
    task = of_workload("conll2003", "entities")
    read = {split: load_split(task, split) for split in ("train", "dev", "test")}
    assert {split.label_names for split in read.values()} == {CONLL_TAGS} == {task.labels}
    assert [(example.id, example.texts, example.label) for split in read.values() for example in split.examples] == [
        ("0", ("EU met Ada Byron",), (3, 0, 1, 2)),
        ("0", ("In Oslo",), (0, 5)),
        ("0", ("A Nordic test",), (0, 7, 8)),
    ]
    assert sum(read["train"].count.skipped.values()) == 1, "the sentence without words"


def test_a_number_that_is_no_tag_is_refused(cache: Path) -> None:
    fill_conll(cache, {"train": [{"tokens": ["Ada"], "ner_tags": [9]}]}, named=False)
    with pytest.raises(DataError, match="row 1: tag '9' is not one of task entities's: O, B-PER"):
        load_split(of_workload("conll2003", "entities"), "train")


def test_go_emotions_has_every_emotion_by_name(cache: Path) -> None:
    task = of_workload("go-emotions", "emotions")
    assert task.labels is not None and len(task.labels) == 28
    each = [[number] for number in range(28)]
    fill_emotions(cache, task.labels, {"train": [*each, [17, 0]], "validation": [[27]], "test": [[2, 3]]})
    train, dev, test = (load_split(task, split) for split in ("train", "dev", "test"))
    assert train.label_names == task.labels
    assert [example.label for example in train.examples] == [*((number,) for number in range(28)), (0, 17)]
    assert [(example.id, example.texts, example.label) for example in (*dev.examples, *test.examples)] == [
        ("va00000", ("comment 0 of validation",), (27,)),
        ("te00000", ("comment 0 of test",), (2, 3)),
    ]


def test_every_hub_workload_is_tested_here() -> None:
    on_the_hub = {
        name
        for name in shipped("workload")
        if any(each["source"]["type"] == "hub" for each in read_recipe("workload", name).tables["tasks"].values())
    }
    alone = {"banking77", "conll2003", "go-emotions", "paper-hub"}
    assert on_the_hub == {"glue", *(f"glue-{name}" for name in GLUE), *alone}


def test_the_studys_kinds_of_task_read_the_columns_of_the_hub(cache: Path) -> None:
    text, number = datasets.Value("string"), datasets.Value("int64")
    columns = datasets.Features({"text": text, "label": number, "label_text": text})
    rows = [{"text": f"row {label}", "label": label, "label_text": "-"} for label in range(5)]
    fill(cache, "SetFit/sst5", "default", {"train": rows}, columns)
    fill_glue(cache, tasks=["qqp", "stsb"])
    sst, paraphrase, sts = (load_split(task, "train") for task in resolve("lora-r12", "paper-hub").spec.tasks)
    assert [(example.texts, example.label) for example in sst.examples] == [((f"row {n}",), n) for n in range(5)]
    assert sst.label_names is None
    assert [example.label for example in paraphrase.examples[:2]] == [0.0, 1.0]
    assert paraphrase.label_names == ("not_duplicate", "duplicate"), "the data set's order, not the alphabet's"
    assert [example.label for example in sts.examples[:3]] == [0.0, 2.5, 5.0]


def test_declared_labels_may_have_another_order(cache: Path) -> None:
    fill_glue(cache, tasks=["mrpc"])
    turned = of_workload("glue-mrpc", "mrpc", 'tasks.mrpc.labels=["equivalent", "not_equivalent"]')
    read = load_split(turned, "train")
    assert read.label_names == ("equivalent", "not_equivalent")
    assert [example.label for example in read.examples[:2]] == [1.0, 0.0]


def test_declared_numbers_stay_numbers(cache: Path) -> None:
    fill_glue(cache, tasks=["mrpc"])
    read = load_split(of_workload("glue-mrpc", "mrpc", 'tasks.mrpc.labels=["1", "0"]'), "train")
    assert [example.label for example in read.examples[:2]] == [1.0, 0.0]


def test_labels_that_the_data_set_does_not_have_are_refused(cache: Path) -> None:
    fill_glue(cache, tasks=["mrpc"])
    with pytest.raises(DataError) as caught:
        load_split(of_workload("glue-mrpc", "mrpc", 'tasks.mrpc.labels=["no", "yes"]'), "train")
    assert caught.value.message == (
        "nyu-mll/glue (mrpc): the classes of 'label' are not_equivalent, equivalent, and task mrpc names no, yes"
    )
    assert "tasks.mrpc.labels=none" in caught.value.hint


def test_another_number_of_classes_is_refused(cache: Path) -> None:
    fill_glue(cache, tasks=["mnli"])
    with pytest.raises(DataError, match=r"'label' has 3 classes \(entailment, neutral, contradiction\)") as caught:
        load_split(of_workload("glue-mnli", "mnli", "tasks.mnli.labels=none", "tasks.mnli.classes=4"), "train")
    assert "tasks.mnli.classes=3" in caught.value.hint


def of_lists(kind: str, names: tuple[str, ...], labels: list[list[int]], cache: Path) -> TaskSpec:
    """Return a task of a data set whose label column holds lists of classes."""
    text = datasets.Value("string")
    words = datasets.List(text) if kind == "tokens" else text
    columns = datasets.Features({"text": words, "label": datasets.List(datasets.ClassLabel(names=list(names)))})
    rows = [{"text": ["Ada", "wrote"] if kind == "tokens" else f"row {own}", "label": own} for own in labels]
    fill(cache, "some/lists", "default", {"train": rows}, columns)
    source = HubSource(path="some/lists")
    return TaskSpec(name="lists", kind=kind, classes=len(names), text=("text",), label="label", source=source)


def test_tags_of_words_have_the_data_sets_names(cache: Path) -> None:
    tags = ("O", "B-PER", "I-PER")
    read = load_split(of_lists("tokens", tags, [[1, 0], [0, 0], [1, -1]], cache), "train")
    assert [(example.texts, example.label) for example in read.examples] == [
        (("Ada wrote",), (1, 0)),
        (("Ada wrote",), (0, 0)),
    ]
    assert (read.label_names, read.count.skipped) == (tags, {"no label": 1})


def test_classes_that_are_no_tags_are_refused(cache: Path) -> None:
    task = of_lists("tokens", ("NOUN", "VERB"), [[0, 1]], cache)
    with pytest.raises(DataError, match=r"some/lists: 'NOUN' is not a tag of BIO or BIOES"):
        load_split(task, "train")


def test_several_labels_have_the_data_sets_names(cache: Path) -> None:
    task = of_lists("multilabel", ("joy", "anger", "a, b"), [[2, 0], [], [1], [-1]], cache)
    read = load_split(task, "train")
    assert [example.label for example in read.examples] == [(0, 2), (), (1,)]
    assert (read.label_names, read.count.skipped) == (("joy", "anger", "a, b"), {"no label": 1})


@pytest.mark.parametrize("name", GLUE)
def test_a_test_split_whose_labels_are_not_published_is_refused(cache: Path, name: str) -> None:
    fill_glue(cache, tasks=[name])
    split = "test_matched" if name == "mnli" else "test"
    hidden = of_workload(f"glue-{name}", name, f"tasks.{name}.source.test={split}")
    with pytest.raises(DataError) as caught:
        load_split(hidden, "test")
    assert caught.value.message == (
        f"nyu-mll/glue ({name}), split '{split}': the labels are not published: 'label' is -1 in all 4 rows"
    )
    assert "split.select=0.5" in caught.value.hint


def test_rows_without_a_label_are_left_out_and_counted(cache: Path) -> None:
    columns = datasets.Features({"sentence": datasets.Value("string"), "label": GLUE["cola"][1]})
    rows = [{"sentence": f"row {label}", "label": label} for label in (-1, 0, 1, -1)]
    fill(cache, GLUE_PATH, "cola", {"train": rows}, columns)
    read = load_split(of_workload("glue-cola", "cola", 'tasks.cola.id=""'), "train")
    assert [(example.id, example.label) for example in read.examples] == [("2", 0.0), ("3", 1.0)]
    assert read.count.skipped == {"no label": 2}
    assert read.count.described("no label") == "row 1, row 4"
    with pytest.raises(DataError, match=r"nyu-mll/glue \(cola\) train, row 1: no label in 'label'"):
        load_split(of_workload("glue-cola", "cola", 'tasks.cola.id=""', "tasks.cola.missing=refuse"), "train")


class TestRevision:
    def test_the_commit_that_was_read_is_recorded(self, cache: Path) -> None:
        fill_glue(cache, tasks=["rte"])
        assert load_split(of_workload("glue-rte", "rte"), "train").reading == {"rows": 12, "revision": COMMIT}

    def test_so_it_is_for_a_part_of_a_split(self, cache: Path) -> None:
        fill_glue(cache, tasks=["rte"])
        part = of_workload("glue-rte", "rte", "tasks.rte.source.train=train[:50%]")
        assert load_split(part, "train").reading == {"rows": 6, "revision": COMMIT}

    def test_a_revision_is_passed_on(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fill_glue(cache, tasks=["rte"])
        asked = []
        load = datasets.load_dataset

        def loaded(*arguments: Any, **options: Any) -> Any:
            asked.append(options["revision"])
            return load(*arguments, **options)

        monkeypatch.setattr(datasets, "load_dataset", loaded)
        for revision in ("none", "main", COMMIT):
            read = load_split(of_workload("glue-rte", "rte", f"tasks.rte.source.revision={revision}"), "train")
            assert read.reading["revision"] == COMMIT
        assert asked == [None, "main", COMMIT]

    def test_another_commit_than_the_one_asked_for_is_refused(self, cache: Path) -> None:
        """Without a network `datasets` reads what its cache has, whatever revision it is told."""
        fill_glue(cache, tasks=["rte"])
        with pytest.raises(MissingError) as caught:
            load_split(of_workload("glue-rte", "rte", f"tasks.rte.source.revision={OTHER_COMMIT}"), "train")
        assert f"commit {OTHER_COMMIT} of nyu-mll/glue (rte) is not in the cache, which has {COMMIT}" in str(
            caught.value
        )
        assert f"tasks.rte.source.revision={COMMIT}" in caught.value.hint

    def test_rows_in_memory_are_told_by_where_they_were_downloaded_from(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = datasets.Dataset.from_dict({"sentence": ["one"], "label": [1], "idx": [0]})
        url = f"hf://datasets/{GLUE_PATH}@{OTHER_COMMIT}/cola/train-00000-of-00001.parquet"
        rows.info.download_checksums = {url: {"num_bytes": 1, "checksum": None}}
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows)
        task = of_workload("glue-cola", "cola", "tasks.cola.labels=none")
        assert load_split(task, "train").reading["revision"] == OTHER_COMMIT
        rows.info.download_checksums = None
        assert load_split(task, "train").reading == {
            "rows": 1,
            "revision": None,
            "revision_unknown": "datasets does not say which commit it read",
        }

    def test_a_folder_has_none(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text("text,label\nfine,4\n")
        reading = load_split(task(tmp_path), "train").reading
        assert reading["revision"] is None
        assert reading["revision_unknown"] == "a local folder, which has no commit"
