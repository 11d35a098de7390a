"""Regression: labels of any range, learnt in standard deviations, stored and predicted in the data's units."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from peftbench.data.quickstart import generate
from peftbench.errors import DataError, UsageError
from peftbench.interchange.merged import export_merged
from peftbench.interchange.trained import TrainedRun
from peftbench.spec import RunSpec, resolve
from peftbench.training.inputs import RecordedInputs
from peftbench.training.predictor import predict
from tests.recorders import Memory, train

pytestmark = pytest.mark.usefixtures("no_prediction")

MEAN, SD = 5000.0, 300.0


def write(path: Path, labels: list[str], split: str) -> None:
    examples = generate("sst", split, len(labels))
    with path.open("w", newline="") as file:
        rows = [(e.id, e.texts[0], label) for e, label in zip(examples, labels, strict=True)]
        csv.writer(file).writerows([("id", "text", "price"), *rows])


@pytest.fixture
def own(tmp_path: Path, tiny_encoder: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 60), ("dev", 30), ("test", 20)):
        write(tmp_path / f"{split}.csv", [f"{MEAN + SD * value:.2f}" for value in rng.normal(size=count)], split)
    workload = tmp_path / "own.toml"
    workload.write_text(
        f'[encoder]\nname = "{tiny_encoder}"\n[train]\nepochs = 2\nlr = 0.002\n[split]\ndev_is = "select"\n'
        '[tasks.price]\nkind = "regression"\ntext = ["text"]\nlabel = "price"\nid = "id"\n'
        f'source = {{ type = "files", root = "{tmp_path}", train = "train.csv", dev = "dev.csv", test = "test.csv" }}\n'
    )
    return workload


def spec_of(workload: Path, *overrides: str) -> RunSpec:
    return resolve("lora-r12", str(workload), overrides=list(overrides)).spec


def labels_of(path: Path) -> list[float]:
    return [float(row["price"]) for row in csv.DictReader(path.open(newline=""))]


@pytest.fixture
def trained(own: Path, tmp_path: Path) -> tuple[RunSpec, Memory]:
    return spec_of(own), train(spec_of(own), tmp_path / "run")


def test_labels_and_predictions_are_stored_in_the_datas_units(trained: tuple[RunSpec, Memory], tmp_path: Path) -> None:
    _, memory = trained
    dev = [row for row in memory.predictions if row.epoch == memory.best_epoch]
    assert [row.label for row in dev] == labels_of(tmp_path / "dev.csv"), "to the last bit: runs are paired by them"
    assert memory.test is not None
    assert [row.label for row in memory.test.predictions] == labels_of(tmp_path / "test.csv")
    assert all(MEAN - 3 * SD < row.prediction < MEAN + 3 * SD for row in dev), "near the mean from the first epoch on"
    score = next(s for s in memory.scores if s.split == "dev" and s.epoch == memory.best_epoch)
    labels, predictions = np.asarray([r.label for r in dev]), np.asarray([r.prediction for r in dev])
    r2 = 1 - ((labels - predictions) ** 2).sum() / ((labels - labels.mean()) ** 2).sum()
    assert (score.metric, score.value) == ("r2", pytest.approx(r2, abs=1e-4))
    assert score.loss < 3, "in squared standard deviations"
    scale = memory.facts["conditions"]["label_scale"]["price"]
    train_labels = labels_of(tmp_path / "train.csv")
    assert scale == pytest.approx((np.mean(train_labels), np.std(train_labels)))


def test_a_predictor_and_an_export_know_the_scale(trained: tuple[RunSpec, Memory], tmp_path: Path) -> None:
    spec, memory = trained
    assert memory.best_epoch is not None and memory.test is not None
    recorded = RecordedInputs("run", memory.facts["conditions"])
    texts = [(row["text"],) for row in csv.DictReader((tmp_path / "test.csv").open(newline=""))]
    rows = predict(spec, spec.tasks[0], texts, tmp_path / "run", memory.best_epoch, own=False, recorded=recorded)
    assert [row.prediction for row in rows] == pytest.approx([row.prediction for row in memory.test.predictions])
    assert all(row.probability is None for row in rows)
    source = TrainedRun(spec, tmp_path / "run", {"price": memory.best_epoch}, own=False, recorded=recorded)
    export_merged(source, tmp_path / "out")
    head = json.loads(next((tmp_path / "out").rglob("head.json")).read_text())
    assert head["scale"] == pytest.approx(list(memory.facts["conditions"]["label_scale"]["price"]))


def test_without_its_record_a_prediction_is_refused(trained: tuple[RunSpec, Memory], tmp_path: Path) -> None:
    spec, memory = trained
    assert memory.best_epoch is not None
    with pytest.raises(DataError, match="no record of its labels' mean and deviation"):
        recorded = RecordedInputs("run", {})
        predict(spec, spec.tasks[0], [("a",)], tmp_path / "run", memory.best_epoch, own=False, recorded=recorded)


@pytest.mark.parametrize("label", ["inf", "cheap", "1e400"])
def test_a_label_that_is_no_number_is_refused_with_its_line(label: str, own: Path, tmp_path: Path) -> None:
    write(tmp_path / "dev.csv", ["1.0", "2.0", label], "dev")
    with pytest.raises(DataError, match=r"dev\.csv, line 4: label '\w+' is not a number"):
        train(spec_of(own), tmp_path / "run")


def test_constant_labels_are_refused(own: Path, tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ["7.0"] * 10, "train")
    with pytest.raises(DataError, match="all training labels are 7"):
        train(spec_of(own), tmp_path / "run")


def test_what_does_not_belong_to_a_regression_is_refused(own: Path) -> None:
    for override, message in (
        ("tasks.price.classes=3", "no meaning"),
        ("tasks.price.metric=accuracy", "r2, pearson, spearman"),
        ("tasks.price.loss.label_smoothing=0.1", "squared error"),
        ('tasks.price.labels=["a", "b"]', "labels are numbers"),
    ):
        with pytest.raises(UsageError, match=message):
            spec_of(own, override)


def test_an_error_is_in_the_datas_units_and_its_lowest_epoch_is_the_best(own: Path, tmp_path: Path) -> None:
    spec = spec_of(own, "tasks.price.metric=mae", "train.epochs=3")
    memory = train(spec, tmp_path / "run")
    curve = [s.value for s in sorted(memory.scores, key=lambda s: s.epoch) if s.split == "dev"]
    assert all(value is not None and SD / 10 < value < 3 * SD for value in curve)
    assert memory.best_epoch == 1 + curve.index(min(curve, key=lambda value: value or 0.0))
    assert [epoch.dev_avg for epoch in memory.epochs] == curve
    assert memory.test is not None
    rows = memory.test.predictions
    errors = [abs(float(row.label) - float(row.prediction)) for row in rows]
    assert memory.test.scores[0].value == pytest.approx(np.mean(errors), rel=1e-12), "of the stored figures"
