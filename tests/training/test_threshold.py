"""The probability above which a label is predicted: fixed, or tuned on the examples that choose the epoch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from peftbench.errors import DataError, UsageError
from peftbench.interchange.merged import export_merged
from peftbench.interchange.trained import TrainedRun
from peftbench.jobs.execute import execute
from peftbench.metrics.value import value
from peftbench.spec import RunSpec, resolve
from peftbench.store.rows import Prediction
from peftbench.tasks import TaskSpec
from peftbench.training.inputs import RecordedInputs
from peftbench.training.predictor import predict
from peftbench.training.threshold import GRID, tuned
from tests.cli.inside import inside
from tests.recorders import Kept, Memory, stopped_anywhere, train
from tests.several_labels import ASPECTS, workload
from tests.worked import worked_here

pytestmark = pytest.mark.usefixtures("no_prediction")


def task_of(**changed: object) -> TaskSpec:
    known = {"name": "own", "kind": "multilabel", "classes": 3, "text": ("a",), "label": "b"}
    return TaskSpec.model_validate({**known, "source": {"type": "quickstart"}, **changed})


@pytest.mark.parametrize("metric", ["micro_f1", "macro_f1", "exact_match"])
def test_the_tuned_threshold_is_the_best_of_the_grid(metric: str) -> None:
    rng = np.random.default_rng(4)
    labels = (rng.random((80, 3)) < 0.2).astype(float)
    of_labels = np.clip(0.3 * labels + 0.4 * rng.random((80, 3)), 0, 1)
    task = task_of(threshold="tuned", metric=metric)
    values = {each: value(metric, labels, (of_labels > each).astype(float)).value or 0.0 for each in GRID.tolist()}
    best = [each for each, score in values.items() if score == max(values.values())]
    chosen = tuned(task, of_labels, labels)
    assert values[0.5] < max(values.values())
    assert chosen in best and abs(chosen - 0.5) == min(abs(each - 0.5) for each in best)


def test_where_no_threshold_gives_a_value_it_is_one_half() -> None:
    nothing = np.zeros((4, 3))
    assert tuned(task_of(threshold="tuned"), nothing, nothing) == 0.5


@pytest.fixture
def own(tmp_path: Path, tiny_encoder: Path) -> Path:
    path = workload(tmp_path, tiny_encoder)
    ner, aspects = path.read_text().split("[tasks.aspects]")
    path.write_text(ner.split("[tasks.ner]")[0] + "[tasks.aspects]" + aspects)
    return path


def spec_of(path: Path, threshold: str = '"tuned"', *overrides: str) -> RunSpec:
    return resolve("lora-r12", str(path), overrides=[f"tasks.aspects.threshold={threshold}", *overrides]).spec


def sets(rows: list[Prediction], threshold: float) -> list[tuple[int, ...]]:
    """Return the labels whose stored probabilities are above the threshold."""
    return [tuple(at for at, each in enumerate(row.probabilities or ()) if each > threshold) for row in rows]


def indicator(stored: list[tuple[int, ...]]) -> np.ndarray:
    return np.asarray([[float(at in own) for at in range(len(ASPECTS))] for own in stored])


@pytest.fixture
def trained(own: Path, tmp_path: Path) -> tuple[RunSpec, Memory]:
    return spec_of(own), train(spec_of(own), tmp_path / "run")


def test_dev_chooses_it_and_test_is_scored_with_it(trained: tuple[RunSpec, Memory]) -> None:
    _, memory = trained
    thresholds = memory.facts["conditions"]["thresholds"]["aspects"]
    assert list(thresholds) == ["1", "2"]
    assert set(thresholds.values()) != {0.5}, "a model of two epochs is seldom sure"
    epoch = memory.best_epoch
    own = thresholds[str(epoch)]
    dev = [row for row in memory.predictions if row.epoch == epoch]
    assert memory.test is not None
    for rows, score in (
        (dev, next(s for s in memory.scores if s.split == "dev" and s.epoch == epoch)),
        (list(memory.test.predictions), memory.test.scores[0]),
    ):
        assert [row.prediction for row in rows] == sets(rows, own)
        labels, predictions = indicator([row.label for row in rows]), indicator([row.prediction for row in rows])
        assert score.value == value("micro_f1", labels, predictions).value


def test_the_train_sample_is_scored_with_the_threshold_of_dev(own: Path, tmp_path: Path) -> None:
    """With a task whose train sample is the dev split, the curves are one and the same."""
    (tmp_path / "dev.jsonl").write_text((tmp_path / "train.jsonl").read_text())
    memory = train(spec_of(own), tmp_path / "run")
    of_split = {split: [s.value for s in memory.scores if s.split == split] for split in ("train", "dev")}
    assert of_split["train"] == of_split["dev"]


def test_stopped_anywhere_it_ends_as_one_that_was_not(own: Path, tmp_path: Path) -> None:
    execute(spec_of(own), whole := Kept(), tmp_path / "whole")
    kept = stopped_anywhere(spec_of(own), tmp_path / "parts", "threshold")
    assert kept.rows == whole.rows and "test" in kept.rows
    assert kept.facts["conditions"]["thresholds"] == whole.facts["conditions"]["thresholds"]


def test_a_predictor_and_an_export_have_the_threshold_of_their_epoch(
    trained: tuple[RunSpec, Memory], tmp_path: Path
) -> None:
    spec, memory = trained
    assert memory.best_epoch is not None and memory.test is not None
    conditions = memory.facts["conditions"]
    texts = [(json.loads(line)["text"],) for line in (tmp_path / "test.jsonl").read_text().splitlines()]

    def predicted(conditions: dict[str, object]) -> list[object]:
        recorded = RecordedInputs("run", conditions)  # type: ignore[arg-type]
        rows = predict(spec, spec.tasks[0], texts, tmp_path / "run", memory.best_epoch, own=False, recorded=recorded)  # type: ignore[arg-type]
        return [row.prediction for row in rows]

    assert predicted(conditions) == [row.prediction for row in memory.test.predictions]
    source = TrainedRun(
        spec, tmp_path / "run", {"aspects": memory.best_epoch}, own=False, recorded=RecordedInputs("run", conditions)
    )
    export_merged(source, tmp_path / "out")
    head = json.loads(next((tmp_path / "out").rglob("head.json")).read_text())
    assert head["threshold"] == conditions["thresholds"]["aspects"][str(memory.best_epoch)]
    with pytest.raises(DataError, match="no record of the threshold that was tuned in epoch"):
        predicted({key: each for key, each in conditions.items() if key != "thresholds"})


def test_a_fixed_one_decides_and_moves_the_hash_and_the_default_does_not(own: Path, tmp_path: Path) -> None:
    low = spec_of(own, "0.2")
    memory = train(low, tmp_path / "run")
    assert memory.test is not None
    assert [row.prediction for row in memory.test.predictions] == sets(list(memory.test.predictions), 0.2)
    assert "thresholds" not in memory.facts["conditions"]
    hashes = [spec_of(own, each).hash() for each in ("0.5", "0.2", '"tuned"')]
    assert len(set(hashes)) == 3 and hashes[0] == resolve("lora-r12", str(own)).spec.hash()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tasks.sst.threshold=0.3"], "no meaning for a task of kind 'classes'"),
        (["tasks.paraphrase.threshold=1.0"], "tasks.paraphrase.threshold"),
        (["tasks.paraphrase.threshold=best"], "tasks.paraphrase.threshold"),
        (["tasks.paraphrase.threshold=tuned"], "scored on the examples that it is tuned on"),
        (
            ["tasks.paraphrase.threshold=tuned", "tasks.paraphrase.metric=auroc", "split.select=0.5"],
            "'auroc' is of probabilities and does not depend on it",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve("lora-r12", overrides=overrides)


def test_show_names_the_threshold_and_json_has_it(own: Path, tmp_path: Path) -> None:
    own.write_text(own.read_text().replace('kind = "multilabel"', 'kind = "multilabel"\nthreshold = "tuned"'))
    db = tmp_path / "runs.db"
    with worked_here():
        assert inside("run", "--preset", "lora-r12", "--workload", own, "--headless", "--db", db).returncode == 0
    show = ("show", "latest", "--task", "aspects", "--db", db)
    dev, test = json.loads(inside(*show, "--json").stdout)["tasks"]
    assert 0 < dev["threshold"] == test["threshold"] < 1
    assert f"above a probability of {dev['threshold']:g} (tuned on dev)" in inside(*show).stdout
