"""Cross-validation: train and dev together in folds; one is tested, one chooses the epoch, the others train."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peftbench.data.examples import Example
from peftbench.data.folds import folds_of
from peftbench.data.quickstart import generate
from peftbench.errors import DataError, UsageError
from peftbench.jobs.execute import execute
from peftbench.spec import Resolved, RunSpec, resolve
from peftbench.spec.folds import of_each_fold
from peftbench.tasks import QuickstartSource, TaskSpec
from tests.recorders import Kept, Memory, stopped_anywhere, train
from tests.several_labels import workload

CLASSES = TaskSpec(name="own", kind="classes", classes=5, text=("t",), label="y", source=QuickstartSource())
MULTILABEL = TaskSpec.model_construct(name="own", kind="multilabel", group="")
TOKENS = TaskSpec.model_construct(name="own", kind="tokens", group="")
SCORES = TaskSpec(name="own", kind="similarity", text=("a", "b"), label="y", source=QuickstartSource())


def examples(labels: list[float], groups: list[str] | None = None) -> list[Example]:
    clusters = groups or [None] * len(labels)
    return [Example(f"row-{n}", (f"text {n}",), label, cluster) for n, (label, cluster) in
            enumerate(zip(labels, clusters, strict=True))]  # fmt: skip


class TestDivision:
    @given(
        labels=st.lists(st.integers(0, 4), min_size=14, max_size=120),
        folds=st.integers(3, 7),
    )
    @settings(deadline=None, max_examples=60)
    def test_folds_are_equal_and_have_each_class_in_proportion(self, labels: list[int], folds: int) -> None:
        of_rows = folds_of(CLASSES, examples([float(label) for label in labels]), folds)
        sizes = np.bincount(of_rows, minlength=folds)
        assert sizes.max() - sizes.min() <= 1 and len(sizes) == folds
        for label in set(labels):
            counts = np.bincount(of_rows[np.asarray(labels) == label], minlength=folds)
            assert counts.max() - counts.min() <= 1

    def test_of_consecutive_scores_each_fold_has_one_and_none_the_lowest(self) -> None:
        scores = [n / 20 for n in range(100)]
        of_rows = folds_of(SCORES, examples(scores), 5)
        assert all(sorted(of_rows[start : start + 5]) == [0, 1, 2, 3, 4] for start in range(0, 100, 5))
        assert len({of_rows[start] for start in range(0, 100, 5)}) > 1

    def test_it_depends_on_ids_and_labels_not_on_the_order(self) -> None:
        rows = examples([float(n % 5) for n in range(50)])
        before = dict(zip([row.id for row in rows], folds_of(CLASSES, rows, 5), strict=True))
        random.Random(0).shuffle(rows)
        assert dict(zip([row.id for row in rows], folds_of(CLASSES, rows, 5), strict=True)) == before
        others = [replace(row, id=f"other-{row.id}") for row in rows]
        assert list(folds_of(CLASSES, others, 5)) != list(folds_of(CLASSES, rows, 5))

    @given(sizes=st.lists(st.integers(1, 9), min_size=12, max_size=60), seed=st.integers(0, 99))
    @settings(deadline=None, max_examples=60)
    def test_groups_stay_whole_and_no_fold_is_empty(self, sizes: list[int], seed: int) -> None:
        groups = [f"doc-{n}" for n, size in enumerate(sizes) for _ in range(size)]
        labels = [float(random.Random(seed + n).randrange(5)) for n in range(len(groups))]
        task = CLASSES.model_copy(update={"group": "document"})
        of_rows = folds_of(task, examples(labels, groups), 4)
        of_groups = {group: {fold for fold, own in zip(of_rows, groups, strict=True) if own == group}
                     for group in groups}  # fmt: skip
        assert all(len(folds) == 1 for folds in of_groups.values())
        assert set(of_rows) == {0, 1, 2, 3}

    def test_whole_groups_are_balanced_in_classes_and_in_scores(self) -> None:
        draw = random.Random(1)
        labels, groups = [], []
        for n in range(60):  # documents of mostly one class
            size, own = draw.randrange(3, 8), float(n % 5)
            labels += [own if draw.random() < 0.8 else float(draw.randrange(5)) for _ in range(size)]
            groups += [f"doc-{n}"] * size
        for task, values in ((CLASSES, labels), (SCORES, [label + draw.random() / 2 for label in labels])):
            of_rows = folds_of(task.model_copy(update={"group": "d"}), examples(values, groups), 5)
            assert np.ptp(np.bincount(of_rows)) <= 8
            for stratum in range(5):
                counts = np.bincount(of_rows[np.floor(values).astype(int) == stratum], minlength=5)
                assert counts.min() >= 0.6 * counts.mean()

    def test_combinations_of_labels_are_in_proportion_and_of_whole_groups_each_label(self) -> None:
        kinds = [(0,), (0, 2), (1,), ()]
        pool = [Example(f"row-{n}", ("t",), kinds[n % 4], f"doc-{n // 3}") for n in range(120)]
        of_rows = folds_of(MULTILABEL, pool, 5)
        for kind in kinds:
            counts = np.bincount([f for f, row in zip(of_rows, pool, strict=True) if row.label == kind], minlength=5)
            assert list(counts) == [6] * 5
        of_rows = folds_of(MULTILABEL.model_copy(update={"group": "d"}), pool, 5)
        for label in range(3):
            has = [f for f, row in zip(of_rows, pool, strict=True) if label in row.label]
            assert np.ptp(np.bincount(has, minlength=5)) <= 3

    def test_of_texts_with_like_numbers_of_tagged_words_each_fold_has_one(self) -> None:
        names = ("O", "B-a", "I-a")
        pool = [Example(f"row-{n}", ("t",), (1,) + (2,) * (n % 10) + (0,) * (40 - n % 10)) for n in range(100)]
        of_rows = folds_of(TOKENS, pool, 5, names)
        for tagged in range(10):
            counts = np.bincount([of_rows[n] for n in range(100) if n % 10 == tagged], minlength=5)
            assert list(counts) == [2] * 5

    def test_too_few_examples_or_groups_are_told_with_what_would_do(self) -> None:
        with pytest.raises(DataError, match=r"own: split\.folds=5 of 9 examples") as caught:
            folds_of(CLASSES, examples([0.0] * 9), 5)
        assert caught.value.hint == "set split.folds to at most 4, or add examples"
        grouped = CLASSES.model_copy(update={"group": "document"})
        with pytest.raises(DataError, match=r"own: split\.folds=5 of 4 groups in 'document'") as caught:
            folds_of(grouped, examples([0.0] * 20, [f"doc-{n % 4}" for n in range(20)]), 5)
        assert "at most 4" in str(caught.value.hint) and "tasks.own.group" in str(caught.value.hint)


class TestSpec:
    @pytest.mark.parametrize(
        ("overrides", "told"),
        [
            (["split.folds=2"], "'split.folds' = 2"),
            (["split.folds=101"], "'split.folds' = 101"),
            (["split.fold=1"], "`fold` = 1 needs `folds`"),
            (["split.folds=5", "split.fold=5"], "`fold` = 5 is not one of 5 folds: 0 to 4"),
            (["split.folds=5", "split.fold=-1"], "'split.fold' = -1"),
            (["split.folds=5", "split.select=0.5"], "`folds` and `select` both make a test split"),
            (["split.folds=5", "split.dev_is=both"], "it needs dev_is = 'select'"),
        ],
    )
    def test_mistakes_are_told(self, overrides: list[str], told: str) -> None:
        with pytest.raises(UsageError) as caught:
            resolve("lora-r12", overrides=overrides)
        assert told in caught.value.message

    def test_folds_alone_mean_a_test_split_and_a_run_each(self) -> None:
        resolved = resolve("lora-r12", overrides=["split.folds=4"])
        assert resolved.spec.split.has_test and not resolved.spec.split.reads_test
        runs = of_each_fold(resolved)
        assert [run.spec.split.fold for run in runs] == [0, 1, 2, 3]
        assert [run.origins["split.fold"] for run in runs] == ["--set"] * 4
        assert of_each_fold(runs[2]) == [runs[2]]
        assert RunSpec.model_validate_json(runs[2].spec.canonical_json()) == runs[2].spec

    def test_the_fold_is_in_the_hash_and_not_in_that_of_the_group(self) -> None:
        of = {
            text: resolve("lora-r12", overrides=[f"split.{word}" for word in text.split()]).spec
            for text in ("folds=4 fold=0", "folds=4 fold=1", "folds=5 fold=0", "select=0.5")
        }
        assert len({spec.hash() for spec in of.values()}) == 4
        assert of["folds=4 fold=0"].group_hash() == of["folds=4 fold=1"].group_hash()
        assert len({spec.group_hash() for spec in of.values()}) == 3
        assert resolve("lora-r12").spec.group_hash() not in {spec.group_hash() for spec in of.values()}

    def test_a_spec_from_before_folds_keeps_its_hashes(self) -> None:
        spec = resolve("lora-r12", overrides=["split.select=0.5"]).spec
        tree = json.loads(spec.canonical_json())
        del tree["split"]["folds"], tree["split"]["fold"]
        old = RunSpec.model_validate_json(json.dumps(tree))
        assert (old, old.hash(), old.group_hash()) == (spec, spec.hash(), spec.group_hash())
        assert spec.determinants()["split"] == {"dev_is": "select", "select": 0.5}
        assert "split" not in resolve("lora-r12").spec.determinants()

    def test_groups_of_rows_decide_the_folds_and_so_are_hashed_with_them(self) -> None:
        group, folds = "tasks.sst.group=document", ("split.folds=4", "split.fold=0")
        assert resolve("lora-r12", overrides=[group]).spec.hash() == resolve("lora-r12").spec.hash()
        with_folds = [resolve("lora-r12", overrides=[*folds, *more]).spec.hash() for more in ([], [group])]
        assert with_folds[0] != with_folds[1]


def write(path: Path, rows: list[tuple[str, str, int, str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "sentence", "sentiment", "document"), *rows])


def read(path: Path) -> list[tuple[str, str, int, str]]:
    with path.open(newline="") as file:
        return [(row["id"], row["sentence"], int(row["sentiment"]), row["document"]) for row in csv.DictReader(file)]


@pytest.fixture
def own(tmp_path: Path, tiny_encoder: Path) -> Path:
    """A workload of csv files, one task; ids are in both files, and rows belong to documents."""
    for split, count in (("train", 40), ("dev", 20)):
        made = generate("sst", split, count)
        rows = [(str(n), e.texts[0], int(e.label), f"doc-{n % 15}") for n, e in enumerate(made)]
        write(tmp_path / f"{split}.csv", rows)
    workload = tmp_path / "own.toml"
    workload.write_text(
        f'[encoder]\nname = "{tiny_encoder}"\n[train]\nepochs = 2\n[tasks.sst]\n'
        f'source = {{ type = "files", root = "{tmp_path}", train = "train.csv", dev = "dev.csv" }}\n'
        "[split]\nfolds = 4\n"
    )
    return workload


def spec_of(workload: Path, *overrides: str, fold: int = 1) -> RunSpec:
    return resolve("lora-r12", str(workload), overrides=["train.lr=0.002", f"split.fold={fold}", *overrides]).spec


def ids_tested(memory: Memory) -> list[str]:
    assert memory.test is not None
    return [row.example_id for row in memory.test.predictions]


@pytest.mark.parametrize("more", [(), ("tasks.sst.group=document",)])
def test_the_folds_of_all_runs_together_are_train_and_dev(more: tuple[str, ...], own: Path, tmp_path: Path) -> None:
    memories = [train(spec_of(own, *more, "train.epochs=1", fold=f), tmp_path / f"{f}") for f in range(4)]
    counts = Counter(name for memory in memories for name in ids_tested(memory))
    assert set(counts.values()) == {1}
    assert set(counts) == {*(f"train:{n}" for n in range(40)), *(f"dev:{n}" for n in range(20))}
    for fold, memory in enumerate(memories):
        chosen_on = [row.example_id for row in memory.predictions]
        assert set(chosen_on) == set(ids_tested(memories[(fold + 1) % 4]))
        sizes = memory.facts["conditions"]["fold_examples"]["sst"]
        assert sizes == {"train": 60 - len(chosen_on) - len(counts_of := ids_tested(memory)), "dev": len(chosen_on),
                         "test": len(counts_of)}  # fmt: skip
        assert f"fold {fold + 1} of 4 is the test split ({sizes['test']} examples)" in " ".join(memory.notes)
        assert memory.test is not None and memory.test.scores[0].examples == sizes["test"]
    assert len({memory.facts["data_hash"] for memory in memories}) == 1
    if more:
        assert not any("group_in_train" in str(memory.facts["conditions"]["data_notes"]) for memory in memories)


def test_every_seed_has_the_same_folds(own: Path, tmp_path: Path) -> None:
    runs = [train(spec_of(own, f"seed={seed}", "train.epochs=1"), tmp_path / str(seed)) for seed in (0, 1)]
    assert ids_tested(runs[0]) == ids_tested(runs[1])
    assert runs[0].loss_points != runs[1].loss_points


def same_training(before: Memory, after: Memory) -> bool:
    keys = ("loss_points", "predictions", "best_epoch", "task_bests")
    return before.figures() == after.figures() and all(getattr(before, k) == getattr(after, k) for k in keys)


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def test_an_altered_label_of_the_test_fold_changes_no_bit_of_training(tiny_encoder: Path, tmp_path: Path) -> None:
    """A score that keeps its rank: the division is stratified, so that another rank could move examples."""
    made = {split: generate("sts", split, count) for split, count in (("train", 40), ("dev", 20))}
    rows = {split: [(str(n), *e.texts, e.label) for n, e in enumerate(of)] for split, of in made.items()}

    def scores(folder: str, rows: dict[str, list[tuple[str, str, str, float]]]) -> RunSpec:
        (tmp_path / folder).mkdir()
        for split, of in rows.items():
            with (tmp_path / folder / f"{split}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("id", "sentence1", "sentence2", "similarity"), *of])
        path = tmp_path / folder / "own.toml"
        path.write_text(
            f'[encoder]\nname = "{tiny_encoder}"\n[train]\nepochs = 2\n[tasks.sts]\n'
            f'source = {{ type = "files", root = "{path.parent}", train = "train.csv", dev = "dev.csv" }}\n'
        )
        return spec_of(path, "split.folds=4")

    def folds(rows: dict[str, list[tuple[str, str, str, float]]]) -> list[int]:
        return list(folds_of(SCORES, [Example(f"{s}:{r[0]}", r[1:3], r[3]) for s in rows for r in rows[s]], 4))

    def altered(name: str) -> dict[str, list[tuple[str, str, str, float]]]:
        split, _, key = name.partition(":")
        return {**rows, split: [(*r[:3], r[3] + 0.01) if r[0] == key else r for r in rows[split]]}

    before = train(scores("data", rows), tmp_path / "before")
    name = next(name for name in ids_tested(before) if folds(altered(name)) == folds(rows))
    after = train(scores("altered", altered(name)), tmp_path / "after")
    assert same_training(before, after)
    assert weights(tmp_path / "after") == weights(tmp_path / "before") != {}
    assert before.test is not None and after.test is not None
    assert [row.prediction for row in after.test.predictions] == [row.prediction for row in before.test.predictions]
    assert after.test.scores[0].loss != before.test.scores[0].loss
    assert after.facts["data_hash"] != before.facts["data_hash"]


def test_with_the_division_held_no_label_of_the_test_fold_is_read_by_training(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = train(spec_of(own), tmp_path / "before")
    divided = {}

    def held(task: TaskSpec, pool: list[Example], folds: int, names: object) -> np.ndarray:
        return np.array([divided[example.id] for example in pool])

    rows = {split: read(tmp_path / f"{split}.csv") for split in ("train", "dev")}
    pool = [Example(f"{split}:{row[0]}", (row[1],), float(row[2])) for split in rows for row in rows[split]]
    divided |= dict(zip([example.id for example in pool], folds_of(CLASSES, pool, 4), strict=True))
    monkeypatch.setattr("peftbench.data.folds.folds_of", held)
    for split, of in rows.items():
        write(tmp_path / f"{split}.csv", [
            (*row[:2], (row[2] + 1) % 5 if divided[f"{split}:{row[0]}"] == 1 else row[2], row[3]) for row in of
        ])  # fmt: skip
    after = train(spec_of(own), tmp_path / "after")
    assert same_training(before, after) and ids_tested(before) == ids_tested(after)
    assert weights(tmp_path / "after") == weights(tmp_path / "before") != {}
    assert before.test is not None and after.test is not None
    assert all(a.label != b.label for a, b in zip(after.test.predictions, before.test.predictions, strict=True))


@pytest.mark.slow
def test_a_run_stopped_anywhere_ends_as_one_that_was_not(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    spec = tiny("lora-r12", ["split.folds=3", "split.fold=2"]).spec
    execute(spec, whole := Kept(), tmp_path / "whole")
    kept = stopped_anywhere(spec, tmp_path / "parts", "folds")
    assert kept.rows == whole.rows
    assert "test" in kept.rows


def test_a_limit_is_of_the_folds_that_train(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    memory = train(tiny("last-layer", ["split.folds=3", "split.fold=0", "train.limit_examples=10"]).spec, tmp_path)
    assert memory.facts["conditions"]["fold_examples"]["sst"]["train"] == 10
    assert "sst train: 10 of" in " ".join(memory.notes)


def test_tasks_of_several_labels_an_example_have_folds_too(tiny_encoder: Path, tmp_path: Path) -> None:
    path = workload(tmp_path, tiny_encoder)
    overrides = ["split.dev_is=select", "split.folds=3", "train.epochs=1"]
    memories = [
        train(resolve("last-layer", str(path), overrides=[*overrides, f"split.fold={f}"]).spec, tmp_path / f"{f}")
        for f in range(3)
    ]
    sizes = memories[0].facts["conditions"]["fold_examples"]
    for task in ("ner", "aspects"):
        ids = [[row.example_id for row in m.test.predictions if row.task == task] for m in memories if m.test]
        assert sum(map(len, ids)) == len({name for of in ids for name in of}) == sum(sizes[task].values())


def test_a_run_of_no_fold_is_refused(own: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"split\.folds=4 without split\.fold"):
        train(spec_of(own, "split.fold=none"), tmp_path / "run")
