"""Labels: numbers of every source type, class names, True and False."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from peftbench.data.load import load_every_dev_row, load_split
from peftbench.data.rows import SourceRow, to_examples
from peftbench.errors import DataError
from peftbench.tasks import FilesSource, QuickstartSource, TaskSpec


def task(classes: int = 3, labels: list[str] | None = None, **source: str) -> TaskSpec:
    return TaskSpec(
        name="own",
        kind="binary" if classes == 2 else "classes",
        classes=None if classes == 2 else classes,
        text=("text",),
        label="label",
        labels=labels,
        source=FilesSource(**source) if source else QuickstartSource(),
    )


def parsed(given: TaskSpec, labels: list[object]) -> tuple[list[float], tuple[str, ...] | None]:
    rows = [SourceRow(number, {"text": "x", "label": label}) for number, label in enumerate(labels, start=1)]
    examples, _, names = to_examples(given, rows, "f")
    return [example.label for example in examples], names


@pytest.mark.parametrize(
    "two",
    [*(2, 2.0, "2", " 2.0 ", Decimal("2"), Decimal("2.00")), *(np.int8(2), np.int64(2), np.float32(2), np.float64(2))],
)
def test_numbers_of_every_type(two: object) -> None:
    assert parsed(task(), [two, 0]) == ([2.0, 0.0], None)


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        ([True, False], [1.0, 0.0]),
        ([np.True_, np.False_], [1.0, 0.0]),
        (["True", "False"], [1.0, 0.0]),
        (["true", " FALSE "], [1.0, 0.0]),
        (["True", "True"], [1.0, 1.0]),
    ],
)
def test_true_is_1_and_false_0(labels: list[object], values: list[float]) -> None:
    assert parsed(task(2), labels)[0] == values


def test_decimals_of_parquet(tmp_path: Path) -> None:
    labels = pyarrow.array([Decimal("2.0"), Decimal("0.0")], pyarrow.decimal128(3, 1))
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": labels}), tmp_path / "x.parquet")
    split = load_split(task(train=str(tmp_path / "x.parquet"), dev="d"), "train")
    assert [example.label for example in split.examples] == [2.0, 0.0]


def test_texts_count_in_the_order_of_their_characters() -> None:
    labels = ["neutral", "positive", " negative", "positive"]
    assert parsed(task(), list(labels)) == ([1.0, 2.0, 0.0, 2.0], ("negative", "neutral", "positive"))


def test_a_setting_says_what_counts_as_what() -> None:
    named = task(labels=["positive", "neutral", "negative"])
    assert parsed(named, ["neutral", "negative "])[0] == [1.0, 2.0]
    with pytest.raises(
        DataError, match="f, line 2: label 'Negative' is not one of task own's labels: positive, neutral"
    ):
        parsed(named, ["neutral", "Negative"])


@pytest.mark.parametrize("labels", [["1", "3", "2"], [1, 3, 2], [1.0, 3.0, 2.0], ["1.0", "3.0", Decimal("2.0")]])
def test_names_may_be_numbers(labels: list[object]) -> None:
    assert parsed(task(labels=["1", "2", "3"]), labels)[0] == [0.0, 2.0, 1.0]


@pytest.mark.parametrize("labels", [[True, False], ["true", "false"]])
def test_names_may_be_true_and_false(labels: list[object]) -> None:
    assert parsed(task(2, labels=["true", "false"]), labels)[0] == [0.0, 1.0]


@pytest.mark.parametrize(("labels", "count"), [(["a", "b"], 2), (["a", "b", "c", "d"], 4), (["a"], 1)])
def test_texts_that_are_not_as_many_as_the_classes(labels: list[object], count: int) -> None:
    told = f"f, line 1: label 'a' is not a whole number from 0 to 2, and f has {count}"
    with pytest.raises(DataError, match=told) as caught:
        parsed(task(), labels)
    assert "tasks.own.labels=" in caught.value.hint


@pytest.mark.parametrize("labels", [["1", "b", "0"], [1, "b", 0], ["0", "1", "b"]])
def test_texts_among_numbers_are_no_labels(labels: list[object]) -> None:
    with pytest.raises(DataError, match="label 'b' is not a whole number from 0 to 2"):
        parsed(task(), labels)


class TestDev:
    @pytest.fixture
    def own(self, tmp_path: Path) -> TaskSpec:
        (tmp_path / "train.csv").write_text("text,label\na,yes\nb,no\nc,maybe\n")
        (tmp_path / "dev.csv").write_text("text,label\nd,yes\ne,yes\nf,\n")
        return task(root=str(tmp_path), train="train.csv", dev="dev.csv")

    def test_it_takes_the_classes_of_train(self, own: TaskSpec) -> None:
        """Dev has one of the three names, which on its own would get another class index."""
        for split in (load_split(own, "dev"), load_split(own, "dev", ("maybe", "no", "yes"))):
            assert [example.label for example in split.examples] == [2.0, 2.0]
            assert split.label_names == ("maybe", "no", "yes")
        labels = [example.label for example in load_every_dev_row(own)]
        assert labels[:2] == [2.0, 2.0] and np.isnan(labels[2])

    def test_a_label_that_train_has_not(self, own: TaskSpec, tmp_path: Path) -> None:
        (tmp_path / "dev.csv").write_text("text,label\nd,yes\ne,perhaps\n")
        with pytest.raises(
            DataError, match=r"dev\.csv, line 3: label 'perhaps' is not one of task own's labels: maybe, no, yes"
        ):
            load_split(own, "dev")

    def test_texts_where_train_has_numbers(self, own: TaskSpec, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text("text,label\na,1\nb,0\n")
        with pytest.raises(DataError, match=r"dev\.csv, line 2: label 'yes' is not a whole number from 0 to 2"):
            load_split(own, "dev")

    def test_json_booleans(self, tmp_path: Path) -> None:
        rows = [{"text": "a", "label": True}, {"text": "b", "label": False}]
        (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
        split = load_split(task(2, train=str(tmp_path / "x.jsonl"), dev="d"), "train")
        assert [example.label for example in split.examples] == [1.0, 0.0]
