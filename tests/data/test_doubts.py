"""Data checks that cast doubt on dev scores."""

from __future__ import annotations

import pytest

from peftbench.data.doubts import doubts
from peftbench.data.examples import Example
from peftbench.data.load import load_split
from peftbench.spec import resolve
from peftbench.tasks import QuickstartSource, TaskSpec
from tests.marks import real_data

CLASSES = TaskSpec(name="own", kind="classes", classes=3, text=("t",), label="y", source=QuickstartSource())
PAIRS = TaskSpec(name="own", kind="similarity", text=("a", "b"), label="y", source=QuickstartSource())


def of(*rows: tuple[object, ...]) -> list[Example]:
    return [Example(str(n), tuple(map(str, texts)), float(label)) for n, (*texts, label) in enumerate(rows)]


TRAIN = of(("one", 0), ("two", 1), ("three", 2))


def names(task: TaskSpec, train: list[Example], dev: list[Example]) -> dict[str, int]:
    return {doubt.name: doubt.examples for doubt in doubts(task, train, dev)}


def test_splits_that_are_sound_have_none() -> None:
    assert doubts(CLASSES, TRAIN, of(("four", 0), ("five", 1))) == []
    assert doubts(PAIRS, of(("a", "b", 1)), of(("a", "c", 2), ("b", "b", 3))) == []


def test_dev_that_is_train() -> None:
    (doubt,) = doubts(CLASSES, TRAIN, TRAIN[::-1])
    assert (doubt.task, doubt.name, doubt.examples) == ("own", "dev_is_train", 3)
    assert "dev and train are the same 3 examples" in doubt.message


@pytest.mark.parametrize("text", ["one", " ONE ", "One\t"])
def test_dev_examples_that_are_in_train(text: str) -> None:
    (doubt,) = doubts(CLASSES, TRAIN, of((text, 1), ("four", 0)))
    assert (doubt.name, doubt.message) == ("dev_in_train", "1 of 2 dev examples are also in train")


def test_a_pair_is_the_same_the_other_way_round() -> None:
    assert names(PAIRS, of(("a b", "c", 1)), of(("C", "a  b", 2), ("x", "y", 1))) == {"dev_in_train": 1}


@pytest.mark.parametrize(
    ("train", "dev", "found"),
    [
        (TRAIN, of(("x", 1), ("y", 1)), {"one_dev_class": 2}),
        (TRAIN, of(("x", 1)), {"one_dev_example": 1}),
        (TRAIN[:2], of(("x", 1), ("y", 2)), {"class_not_in_train": 1}),
        (TRAIN[:2], of(("x", 1), ("y", 0)), {"class_not_in_train": 0}),
    ],
)
def test_classes_that_are_not_there(train: list[Example], dev: list[Example], found: dict[str, int]) -> None:
    assert names(CLASSES, train, dev) == found


def test_scores_that_are_all_the_same() -> None:
    (doubt,) = doubts(PAIRS, of(("a", "b", 1)), of(("c", "d", 2.5), ("e", "f", 2.5)))
    assert doubt.name == "dev_constant" and "all dev labels are 2.5" in doubt.message


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "shared"), [("sst", 2), ("sts", 16)])
def test_the_overlaps_of_the_published_split(name: str, shared: int) -> None:
    task = resolve("full", "paper", data=[str(real_data() / "cs224n")]).spec.task(name)
    train, dev = (load_split(task, split).examples for split in ("train", "dev"))
    assert names(task, list(train), list(dev)) == {"dev_in_train": shared}


GROUPED = CLASSES.model_copy(update={"group": "document"})


def grouped(clusters: str, start: int = 0) -> list[Example]:
    return [Example(str(n), (f"text {start + n}",), n % 3, name) for n, name in enumerate(clusters)]


def test_groups_of_dev_that_are_in_train() -> None:
    found = {doubt.name: doubt for doubt in doubts(GROUPED, grouped("aabbccdd"), grouped("bbbxyzz", 50))}
    assert found["group_in_train"].examples == 3
    assert "1 of 4 dev groups are also in train, with 3 of 7 dev examples" in found["group_in_train"].message


def test_few_groups() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    train = grouped("ABC")
    assert "only 19 groups" in names_of_messages(train, grouped(letters[:19] * 3, 9))
    assert doubts(GROUPED, train, grouped(letters[:20] * 3, 9)) == []
    assert doubts(CLASSES, train, grouped("aaa", 9)) == []


def names_of_messages(train: list[Example], dev: list[Example]) -> str:
    return "; ".join(doubt.message for doubt in doubts(GROUPED, train, dev))
