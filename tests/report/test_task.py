"""`show RUN --task`: every metric of a task and the table of its classes, against scikit-learn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.metrics import f1_score, precision_recall_fscore_support

from peftbench.report.task import task_page, task_scores
from peftbench.store.reader import Reader
from peftbench.store.rows import RunRecord
from tests.cli.inside import inside
from tests.printing import printed
from tests.stored import store_scored_run


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    store_scored_run(path, "lora-r12", 0)
    return path


@pytest.fixture
def record(database: Path) -> RunRecord:
    with Reader(database) as reader:
        return reader.record(reader.find("latest"), predictions=True)


def test_the_figures_are_scikit_learns(record: RunRecord) -> None:
    (scores,) = task_scores(record, "sst")
    rows = record.predictions["sst"]
    labels, predictions = [int(r.label) for r in rows], [int(r.prediction) for r in rows]
    metrics = {name: value for name, value, _ in scores.metrics}
    assert scores.metrics[0][0] == "accuracy" and scores.examples == 120
    assert metrics["macro_f1"] == pytest.approx(f1_score(labels, predictions, average="macro"))
    expected = precision_recall_fscore_support(labels, predictions, labels=range(5), zero_division=0)
    for at, row in enumerate(scores.classes):
        assert [row[key] or 0 for key in ("precision", "recall", "f1", "support")] == pytest.approx(
            [column[at] for column in expected]
        )


def test_label_texts_name_the_classes_and_are_cleaned(record: RunRecord) -> None:
    names = ["very \x1b[31mbad", "bad", "middling", "good", "very good"]
    named = replace(record, run=replace(record.run, conditions={"label_names": {"sst": names}}))
    text = printed(task_page(named, "sst"))
    assert "middling" in text and "\x1b[31m" not in text
    assert "precision" in text and "support" in text


def test_a_task_of_scores_has_no_classes(record: RunRecord) -> None:
    (scores,) = task_scores(record, "sts")
    assert scores.classes == ()
    assert [name for name, _, _ in scores.metrics] == ["pearson", "spearman", "r2", "mae", "rmse"]


def test_undefined_metrics_have_their_reason(record: RunRecord) -> None:
    stored = record.predictions["paraphrase"]
    rows = tuple(replace(row, prediction=1.0, label=float(at % 2)) for at, row in enumerate(stored))
    constant = replace(record, predictions={**record.predictions, "paraphrase": rows})
    text = printed(task_page(constant, "paraphrase"))
    assert "no MCC on dev: constant predictions" in " ".join(text.split())


def test_labels_that_no_version_stores_end_in_a_reason(record: RunRecord) -> None:
    rows = tuple(replace(row, label=7.5) for row in record.predictions["sst"])
    text = printed(task_page(replace(record, predictions={"sst": rows}), "sst"))
    assert "no macro F1 on dev" in text and "precision" not in text


def test_without_predictions_it_says_so(record: RunRecord) -> None:
    assert "no predictions are stored" in printed(task_page(replace(record, predictions={}), "sst"))


def test_the_command(database: Path) -> None:
    shown = inside("show", "latest", "--task", "sst", "--db", database).stdout
    assert "macro F1" in shown and "classes on dev, epoch 1" in shown
    content = json.loads(inside("show", "latest", "--task", "sst", "--json", "--db", database).stdout)
    (task,) = content["tasks"]
    assert (task["task"], task["split"], task["headline"], len(task["classes"])) == ("sst", "dev", "accuracy", 5)
    wrong = inside("show", "latest", "--task", "stt", "--db", database)
    assert wrong.returncode == 2 and "did you mean" in wrong.stderr
    both = inside("show", "latest", "--task", "sst", "--phases", "--db", database)
    assert both.returncode == 2 and "--task" in both.stderr
