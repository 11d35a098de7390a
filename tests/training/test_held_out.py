"""The test split: scored once for the epoch that dev chose, and read by nothing else."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from peftbench.data.encode import EncodedSplit
from peftbench.data.quickstart import generate
from peftbench.data.select_part import divide
from peftbench.errors import DataError, Interrupted, MissingError, UsageError
from peftbench.jobs.execute import execute
from peftbench.spec import Resolved, RunSpec, resolve
from peftbench.spec.sweep_file import read_sweep
from peftbench.tasks import TaskSpec
from peftbench.training.inputs import UNRECORDED
from peftbench.training.predictor import predict
from tests.marks import soaked_but
from tests.recorders import Kept, Memory, stopped_anywhere, train

pytestmark = pytest.mark.usefixtures("no_prediction")

METHODS = ("full", "last-layer", "dora-r12", "delta-lora-r12", "adalora-r12", "loraplus-r12")
HELD_OUT = ("split.dev_is=select", *(f"tasks.{task}.source.test=20" for task in ("sst", "paraphrase", "sts")))


def write(path: Path, rows: list[tuple[str, str, int]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "sentence", "sentiment"), *rows])


@pytest.fixture
def own(tmp_path: Path, tiny_encoder: Path) -> Path:
    """A workload of csv files, one task, with a labelled test split."""
    for split, count in (("train", 40), ("dev", 20), ("test", 20)):
        examples = generate("sst", split, count)
        write(tmp_path / f"{split}.csv", [(e.id, e.texts[0], int(e.label)) for e in examples])
    workload = tmp_path / "own.toml"
    workload.write_text(
        f'[encoder]\nname = "{tiny_encoder}"\n[train]\nepochs = 2\n[tasks.sst]\n'
        f'source = {{ type = "files", root = "{tmp_path}", train = "train.csv", dev = "dev.csv", test = "test.csv" }}\n'
        '[split]\ndev_is = "select"\n'
    )
    return workload


def spec_of(workload: Path, *overrides: str, preset: str = "lora-r12") -> RunSpec:
    return resolve(preset, str(workload), overrides=["train.lr=0.002", *overrides]).spec


def trained(memory: Memory) -> tuple[object, ...]:
    """Return everything that training and the choice of the epoch came to."""
    return memory.figures(), memory.loss_points, memory.predictions, memory.best_epoch, memory.task_bests


def test_an_altered_test_label_changes_the_test_scores_alone(own: Path, tmp_path: Path) -> None:
    before = train(spec_of(own), tmp_path / "before")
    weights = {path.name: path.read_bytes() for path in (tmp_path / "before").glob("*.safetensors")}
    rows = list(csv.reader((tmp_path / "test.csv").open(newline="")))
    rows[1][2] = str((int(rows[1][2]) + 2) % 5)
    write(tmp_path / "test.csv", [(row[0], row[1], int(row[2])) for row in rows[1:]])
    after = train(spec_of(own), tmp_path / "after")
    assert trained(after) == trained(before)
    assert {path.name: path.read_bytes() for path in (tmp_path / "after").glob("*.safetensors")} == weights
    assert before.test is not None and after.test is not None
    assert [row.prediction for row in after.test.predictions] == [row.prediction for row in before.test.predictions]
    assert after.test.predictions[0].label != before.test.predictions[0].label
    assert after.test.scores[0].loss != before.test.scores[0].loss
    assert after.facts["data_hash"] != before.facts["data_hash"]


@pytest.mark.parametrize("preset", ["lora-r12", *soaked_but(("full",), METHODS)])
def test_test_is_scored_once_with_the_weights_of_the_best_epoch(
    preset: str, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    averages = iter((0.5, 0.9, 0.1))
    monkeypatch.setattr("peftbench.training.scoring.average_of", lambda values: next(averages))
    spec = spec_of(own, "train.epochs=3", preset=preset)
    memory = train(spec, tmp_path / "run")
    assert memory.test is not None
    assert (memory.best_epoch, memory.test.epoch) == (2, 2)
    assert [(score.split, score.examples) for score in memory.test.scores] == [("test", 20)]
    assert sum(phase.split == "test" for phase in memory.seen_phases if phase.phase == "eval") == 1
    texts = [(row["sentence"],) for row in csv.DictReader((tmp_path / "test.csv").open(newline=""))]
    predicted = predict(spec, spec.tasks[0], texts, tmp_path / "run", 2, own=False, recorded=UNRECORDED)
    assert [row.prediction for row in memory.test.predictions] == [row.prediction for row in predicted]


@pytest.mark.parametrize("overrides", [HELD_OUT, ("split.select=0.5",)])
def test_training_and_dev_are_those_of_a_run_without_a_test_split(
    overrides: tuple[str, ...], tiny: Callable[..., Resolved], tmp_path: Path
) -> None:
    with_test = train(tiny("last-layer", overrides).spec, tmp_path / "with")
    without = train(tiny("last-layer").spec, tmp_path / "without")
    assert with_test.loss_points == without.loss_points
    assert without.test is None
    if overrides == HELD_OUT:
        assert with_test.figures() == without.figures()
    assert with_test.test is not None
    assert {score.task for score in with_test.test.scores} == {"sst", "paraphrase", "sts"}


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [HELD_OUT, pytest.param(("split.select=0.5",), marks=pytest.mark.soak)])
def test_a_run_stopped_anywhere_ends_as_one_that_was_not(
    overrides: tuple[str, ...], tiny: Callable[..., Resolved], tmp_path: Path
) -> None:
    spec = tiny("lora-r12", overrides).spec
    execute(spec, whole := Kept(), tmp_path / "whole")
    kept = stopped_anywhere(spec, tmp_path / "parts", "held out")
    assert kept.rows == whole.rows
    assert "test" in kept.rows


def test_a_stop_while_test_is_scored_keeps_the_last_checkpoint(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    spec = tiny("last-layer", HELD_OUT).spec

    class Stopped(Kept):
        def progress(self, progress: object) -> None:
            super().progress(progress)  # type: ignore[arg-type]
            if getattr(progress, "phase", "").endswith("test"):
                raise Interrupted("asked to stop")

    with pytest.raises(Interrupted):
        execute(spec, Stopped(), tmp_path)
    kept = Kept()
    execute(spec, kept, tmp_path)
    assert "resume: from the end of epoch 2" in " ".join(kept.notes)
    assert kept.test is not None and not kept.epochs


def test_without_dev_is_select_the_test_file_is_not_read(own: Path, tmp_path: Path) -> None:
    (tmp_path / "test.csv").unlink()
    memory = train(spec_of(own, "split.dev_is=both"), tmp_path / "run")
    assert memory.test is None
    with pytest.raises(MissingError, match=r"test\.csv"):
        train(spec_of(own), tmp_path / "other")


def test_overlap_of_test_with_train_and_dev_is_noted(own: Path, tmp_path: Path) -> None:
    rows = list(csv.reader((tmp_path / "train.csv").open(newline="")))[1:5]
    rows += list(csv.reader((tmp_path / "dev.csv").open(newline="")))[1:4]
    write(tmp_path / "test.csv", [(row[0], row[1], int(row[2])) for row in rows])
    memory = train(spec_of(own), tmp_path / "run")
    names = {note["name"]: note["examples"] for note in memory.facts["conditions"]["data_notes"]}
    assert (names["test_in_train"], names["test_in_dev"]) == (4, 3)


class TestSpec:
    def test_a_task_without_a_test_split_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"needs a test split, and the source of task sst names none") as caught:
            resolve("lora-r12", overrides=["split.dev_is=select"])
        assert "split.select=0.5" in caught.value.message

    def test_select_alone_means_that_dev_selects(self) -> None:
        spec = resolve("lora-r12", overrides=["split.select=0.5"]).spec
        assert spec.split.dev_is == "select" and spec.split.has_test
        assert RunSpec.model_validate_json(spec.canonical_json()) == spec

    def test_a_part_of_dev_cannot_select_and_report(self) -> None:
        with pytest.raises(UsageError, match="needs dev_is = 'select'"):
            resolve("lora-r12", overrides=["split.select=0.5", "split.dev_is=both"])

    @pytest.mark.parametrize("value", ["0", "1", "1.5", "-0.1"])
    def test_a_fraction_beyond_its_range_is_refused(self, value: str) -> None:
        with pytest.raises(UsageError, match=r"split\.select"):
            resolve("lora-r12", overrides=[f"split.select={value}"])

    def test_the_hash_has_the_roles_only_where_there_is_a_test_split(self) -> None:
        plain = resolve("lora-r12").spec
        assert resolve("lora-r12", overrides=["tasks.sst.source.test=50"]).spec.hash() == plain.hash()
        roles = [resolve("lora-r12", overrides=list(overrides)).spec.hash() for overrides in (HELD_OUT, HELD_OUT[:1])
                 if len(overrides) > 1]  # fmt: skip
        half = resolve("lora-r12", overrides=["split.select=0.5"]).spec
        third = resolve("lora-r12", overrides=["split.select=0.3"]).spec
        assert len({plain.hash(), *roles, half.hash(), third.hash()}) == 4

    def test_a_sweep_may_vary_it(self, tmp_path: Path) -> None:
        path = tmp_path / "roles.toml"
        path.write_text('presets = ["full"]\n[grid]\n"split.select" = [0.3, 0.5]\n')
        assert read_sweep(str(path)).grid == {"split.select": (0.3, 0.5)}


def encoded(labels: list[float], clusters: list[str] | None = None) -> EncodedSplit:
    ids = tuple(f"row-{n}" for n in range(len(labels)))
    return EncodedSplit((), np.asarray(labels), ids, 0, True, clusters=None if clusters is None else tuple(clusters))


class TestDivision:
    task: TaskSpec = resolve("lora-r12").spec.tasks[0]

    @pytest.mark.parametrize("fraction", [0.2, 0.5, 0.7])
    def test_both_parts_have_the_classes_in_proportion(self, fraction: float) -> None:
        labels = [0.0] * 60 + [1.0] * 30 + [2.0] * 10
        random.Random(0).shuffle(labels)
        select, test = divide(self.task, encoded(labels), fraction)
        assert sorted([*select, *test]) == list(range(100))
        for label, count in ((0.0, 60), (1.0, 30), (2.0, 10)):
            assert abs(sum(labels[row] == label for row in select) - count * fraction) < 1

    def test_it_depends_on_ids_and_labels_not_on_the_order(self) -> None:
        labels = [float(n % 5) for n in range(50)]
        whole = encoded(labels)
        order = np.random.default_rng(0).permutation(50)
        chosen = {whole.example_ids[row] for row in divide(self.task, whole, 0.5)[0]}
        moved = replace(whole, labels=whole.labels[order], example_ids=tuple(whole.example_ids[n] for n in order))
        assert {moved.example_ids[row] for row in divide(self.task, moved, 0.5)[0]} == chosen

    def test_groups_stay_whole(self) -> None:
        clusters = [f"doc-{n // 4}" for n in range(40)]
        select, test = divide(self.task, encoded([0.0, 1.0] * 20, clusters), 0.5)
        assert not {clusters[row] for row in select} & {clusters[row] for row in test}
        assert len(select) == 20

    def test_too_small_parts_are_refused(self) -> None:
        with pytest.raises(DataError, match=r"split\.select=0\.1 of 12 examples leaves 1 to choose the epoch"):
            divide(self.task, encoded([0.0, 1.0] * 6), 0.1)

    @pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
    def test_neither_part_has_the_higher_scores(self, fraction: float) -> None:
        differences = []
        for seed in range(60):
            whole = encoded(sorted(np.random.default_rng(seed).uniform(0, 5, 40)))
            whole = replace(whole, example_ids=tuple(f"{seed}-{name}" for name in whole.example_ids))
            select, test = divide(self.task, whole, fraction)
            differences.append(float(whole.labels[select].mean() - whole.labels[test].mean()))
        assert abs(np.mean(differences)) < 4 * np.std(differences) / np.sqrt(60)

    def test_each_part_needs_two_groups(self) -> None:
        clusters = [str(number % 3) for number in range(24)]
        with pytest.raises(DataError, match="of 3 groups leaves 1 to choose the epoch and 2 to test on"):
            divide(self.task, encoded([0.0, 1.0] * 12, clusters), 0.5)


def test_examples_of_both_parts_of_dev_are_noted(own: Path, tmp_path: Path) -> None:
    examples = generate("sst", "dev", 20)
    write(tmp_path / "dev.csv", [(f"{e.id}-{n}", e.texts[0], int(e.label)) for n in range(2) for e in examples])
    memory = train(spec_of(own, "split.select=0.5"), tmp_path / "run")
    names = {note["name"] for note in memory.facts["conditions"]["data_notes"]}
    assert names & {"test_in_dev", "test_is_dev"}


def test_every_run_has_the_same_parts_whatever_its_seed(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    tested = [
        train(tiny("last-layer", ["split.select=0.5", f"seed={seed}"]).spec, tmp_path / str(seed)).test
        for seed in (0, 1)
    ]
    ids = [[row.example_id for row in result.predictions] for result in tested if result is not None]
    assert ids[0] == ids[1] and len(ids) == 2
