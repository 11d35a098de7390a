"""From rows to examples, whatever the source: labels, ids, what is left out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench.data.examples import Example, fingerprint
from peftbench.data.rows import Row, to_examples
from peftbench.errors import DataError
from peftbench.tasks import QuickstartSource, TaskSpec

SOURCE = QuickstartSource()
CLASSES = TaskSpec(name="stars", kind="classes", classes=5, text=("t",), label="y", id="id", source=SOURCE)
BINARY = TaskSpec(name="pair", kind="binary", text=("a", "b"), label="y", source=SOURCE)
SIMILAR = TaskSpec(name="like", kind="similarity", text=("t",), label="y", low=-1.0, high=1.0, source=SOURCE)


def one(task: TaskSpec, label: object, **values: Any) -> Example:
    row = Row(7, {"t": "x", "a": "x", "b": "y", "id": "i", "y": label} | values)
    (example,), _ = to_examples(task, [row], "the file")
    return example


@given(st.integers(0, 4))
def test_a_class_may_be_written_in_any_way_a_table_writes_it(label: int) -> None:
    for written in (label, float(label), str(label), f"{label}.0", f" {label} ", f"{label}e0"):
        assert one(CLASSES, written).label == label


@given(st.one_of(st.floats(), st.integers()))
def test_a_number_is_a_class_of_the_task_or_an_error(label: float) -> None:
    if label in range(5):
        assert one(CLASSES, label).label == label
    else:
        with pytest.raises(DataError, match="the file, line 7: label"):
            one(CLASSES, label)


@given(st.floats())
def test_a_score_lies_within_the_tasks_bounds(label: float) -> None:
    if -1 <= label <= 1:
        assert one(SIMILAR, label).label == label
    else:
        with pytest.raises(DataError, match="is not a score from -1 to 1"):
            one(SIMILAR, label)


@pytest.mark.parametrize("label", ["", " ", "\t", None])
def test_a_row_without_a_label_is_left_out_and_counted(label: object) -> None:
    rows = [Row(1, {"a": "x", "b": "y", "y": 1}), Row(2, {"a": "x", "b": "y", "y": label})]
    examples, count = to_examples(BINARY, rows, "the file")
    assert [example.id for example in examples] == ["1"]
    assert (count.read, count.skipped) == (2, {"no label": 1})


def test_the_id_of_a_row_that_is_left_out_is_free() -> None:
    rows = [Row(1, {"t": "", "id": "i", "y": 1}), Row(2, {"t": "x", "id": "i", "y": 1})]
    examples, count = to_examples(CLASSES, rows, "the file")
    assert [example.id for example in examples] == ["i"]
    assert count.skipped == {"no text": 1}


def test_no_row_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match=r"the file: no usable row$"):
        to_examples(CLASSES, [], "the file")


def test_texts_are_stripped_and_ids_are_text() -> None:
    assert one(CLASSES, 1, t="  spaced out \n", id=12) == Example("12", ("spaced out",), 1.0)


def test_a_hostile_label_or_column_is_clean_in_the_message() -> None:
    with pytest.raises(DataError) as caught:
        one(CLASSES, "\x1b[31mred\x1b[0m\n")
    assert "label 'red'" in caught.value.message
    with pytest.raises(DataError) as caught:
        to_examples(CLASSES, [Row(1, {"\x1b]0;title\x07t ": "x", "": "y"})], "the file")
    assert "\x1b" not in f"{caught.value.message}{caught.value.hint}"
    assert "(unnamed)" in caught.value.hint


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3), st.sampled_from([0.0, 1.0])), max_size=4))
def test_a_fingerprint_tells_every_id_text_label_and_place(rows: list[tuple[str, str, float]]) -> None:
    def print_of(some: list[tuple[str, str, float]]) -> str:
        return fingerprint(Example(name, (text,), label) for name, text, label in some)

    original = print_of(rows)
    assert original == print_of(list(rows))
    for place, (name, text, label) in enumerate(rows):
        for other in ((name + "x", text, label), (name, "x" + text, label), (name, text, 1 - label)):
            assert print_of([*rows[:place], other, *rows[place + 1 :]]) != original
    assert print_of([*rows, ("x", "y", 0.0)]) != original


def test_a_fingerprint_does_not_run_fields_together() -> None:
    assert fingerprint([Example("ab", ("c",), 1)]) != fingerprint([Example("a", ("bc",), 1)])
    assert fingerprint([Example("a", ("b", "c"), 1)]) != fingerprint([Example("a", ("bc", ""), 1)])
