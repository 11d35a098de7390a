"""Conversion of rows to examples, for any source: labels, ids, skipped rows."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench.data.examples import Example, fingerprint
from peftbench.data.rows import SourceRow, to_examples
from peftbench.errors import DataError
from peftbench.tasks import QuickstartSource, TaskSpec

SOURCE = QuickstartSource()
CLASSES = TaskSpec(name="stars", kind="classes", classes=5, text=("t",), label="y", id="id", source=SOURCE)
BINARY = TaskSpec(name="pair", kind="binary", text=("a", "b"), label="y", source=SOURCE)
SIMILAR = TaskSpec(name="like", kind="similarity", text=("t",), label="y", low=-1.0, high=1.0, source=SOURCE)


def one(task: TaskSpec, label: object, **values: Any) -> Example:
    row = SourceRow(7, {"t": "x", "a": "x", "b": "y", "id": "i", "y": label} | values)
    (example,), _, _ = to_examples(task, [row], "the file")
    return example


@given(st.integers(0, 4))
def test_a_class_may_be_written_in_any_way_a_table_writes_it(label: int) -> None:
    for written in (label, float(label), str(label), f"{label}.0", f" {label} ", f"{label}e0"):
        assert one(CLASSES, written).label == label


@given(st.one_of(st.floats(), st.integers()))
def test_a_number_is_a_class_of_the_task_or_an_error(label: float) -> None:
    if label in range(5):
        assert one(CLASSES, label).label == label
    elif math.isnan(label):
        with pytest.raises(DataError, match=r"no usable row \(1 with no label\)"):
            one(CLASSES, label)
    else:
        with pytest.raises(DataError, match="the file, line 7: label"):
            one(CLASSES, label)


@given(st.floats())
def test_a_score_lies_within_the_tasks_bounds(label: float) -> None:
    if -1 <= label <= 1:
        assert one(SIMILAR, label).label == label
    else:
        with pytest.raises(DataError, match="no label" if math.isnan(label) else "is not a score from -1 to 1"):
            one(SIMILAR, label)


@pytest.mark.parametrize("label", ["", " ", "\t", None, math.nan, Decimal("nan")])
def test_a_row_without_a_label_is_left_out_and_counted(label: object) -> None:
    rows = [SourceRow(1, {"a": "x", "b": "y", "y": 1}), SourceRow(2, {"a": "x", "b": "y", "y": label})]
    examples, count, _ = to_examples(BINARY, rows, "the file")
    assert [example.id for example in examples] == ["1"]
    assert (count.read, count.skipped) == (2, {"no label": 1})


MISSING = [None, math.nan, np.float32("nan").item(), Decimal("NaN"), "", " ", "\t\n"]


@pytest.mark.parametrize("value", MISSING)
@pytest.mark.parametrize("column", ["a", "b"])
def test_a_text_that_is_missing_never_becomes_a_word(value: object, column: str) -> None:
    rows = [SourceRow(n, {"a": "x", "b": "y", "y": 1} | ({column: value} if n % 2 else {})) for n in range(1, 17)]
    examples, count, _ = to_examples(BINARY, rows, "the file")
    assert [example.id for example in examples] == [str(n) for n in range(2, 17, 2)]
    assert count.skipped == {"no text": 8}
    assert count.described("no text") == "line 1, line 3, line 5, line 7, line 9 and 3 more"
    refusing = BINARY.model_copy(update={"missing": "refuse"})
    with pytest.raises(DataError, match=f"the file, line 1: no text in '{column}'") as caught:
        to_examples(refusing, rows, "the file")
    assert "tasks.pair.missing=skip" in caught.value.hint


def test_a_missing_label_is_refused_by_the_same_setting() -> None:
    refusing = BINARY.model_copy(update={"missing": "refuse"})
    with pytest.raises(DataError, match="line 4: no label in 'y'"):
        to_examples(refusing, [SourceRow(4, {"a": "x", "b": "y", "y": None})], "the file")


@pytest.mark.parametrize("word", ["nan", "NaN", "None", "null", "NA", "0"])
def test_a_word_is_a_word(word: str) -> None:
    assert one(CLASSES, 1, t=word).texts == (word,)


def test_a_key_that_one_json_object_lacks_is_missing_there() -> None:
    rows = [SourceRow(1, {"a": "x", "b": "y", "y": 1}, table=False), SourceRow(2, {"a": "x", "y": 1}, table=False)]
    examples, count, _ = to_examples(BINARY, rows, "the file")
    assert (len(examples), count.skipped) == (1, {"no text": 1})
    with pytest.raises(DataError, match="the file, line 2: no column 'b'"):
        to_examples(BINARY, rows[1:], "the file")


@pytest.mark.parametrize("half", ["\ud83d", "\ude00", "a\udfff", "\ude00\ud83d"])
@pytest.mark.parametrize("column", ["t", "id"])
def test_half_a_surrogate_pair_is_no_unicode(half: str, column: str) -> None:
    with pytest.raises(DataError, match=r"the file, line 7, '.+': not valid Unicode: lone surrogate U\+D"):
        one(CLASSES, 1, **{column: half})


@pytest.mark.parametrize("value", [None, math.nan])
def test_an_id_that_is_missing_is_no_id(value: object) -> None:
    with pytest.raises(DataError, match="line 7: no id in 'id'"):
        one(CLASSES, 1, id=value)


@pytest.mark.parametrize(
    ("name", "escaped", "why"),
    [
        (" y", "' y'", "white space around"),
        ("y ", "'y '", "white space around"),
        ("\ufeffy", "'\\ufeffy'", "invisible characters"),
        ("y\u200b", "'y\\u200b'", "invisible characters"),
        ("\xa0y", "'\\xa0y'", "white space around"),
        ("Y", "'Y'", "upper and lower case"),
    ],
)
def test_what_cannot_be_seen_in_a_columns_name_is_shown(name: str, escaped: str, why: str) -> None:
    with pytest.raises(DataError) as caught:
        to_examples(CLASSES, [SourceRow(1, {"t": "x", "id": "i", name: 1})], "the file")
    assert f"no column 'y'; there is {escaped}, which differs in: {why}" in caught.value.message
    assert "did you mean" not in caught.value.message
    assert escaped.strip("'") in caught.value.hint


def test_a_columns_name_in_decomposed_letters_is_shown() -> None:
    task = CLASSES.model_copy(update={"label": "caf\u00e9"})
    with pytest.raises(DataError) as caught:
        to_examples(task, [SourceRow(1, {"t": "x", "id": "i", "cafe\u0301": 1})], "the file")
    assert "there is 'cafe\\u0301', which differs in: Unicode normalisation" in caught.value.message


def test_names_of_600_characters_stay_readable() -> None:
    with pytest.raises(DataError) as caught:
        to_examples(CLASSES, [SourceRow(1, {"x" * 600: "x", "y": 1, " " * 600: 2})], "f")
    assert len(caught.value.message) + len(caught.value.hint) < 300


def test_the_id_of_a_row_that_is_left_out_is_free() -> None:
    rows = [SourceRow(1, {"t": "", "id": "i", "y": 1}), SourceRow(2, {"t": "x", "id": "i", "y": 1})]
    examples, count, _ = to_examples(CLASSES, rows, "the file")
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
        to_examples(CLASSES, [SourceRow(1, {"\x1b]0;title\x07t ": "x", "": "y"})], "the file")
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


GROUPED = BINARY.model_copy(update={"group": "document"})


def test_a_row_belongs_to_what_its_column_says() -> None:
    assert one(GROUPED, 1, document=" d 7 ").cluster == "d 7"
    assert one(GROUPED, 1, document=7).cluster == "7"
    assert one(BINARY, 1, document="d").cluster is None


@pytest.mark.parametrize("value", [None, "", " ", math.nan])
def test_a_row_that_belongs_to_nothing_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="the file, line 7: no group in 'document'") as caught:
        one(GROUPED, 1, document=value)
    assert 'tasks.pair.group=""' in caught.value.hint


def test_a_column_of_groups_must_be_there() -> None:
    with pytest.raises(DataError, match="no column 'document'"):
        one(GROUPED, 1)


def test_groups_are_no_part_of_the_fingerprint_of_what_is_trained_on() -> None:
    row = one(GROUPED, 1, document="d")
    assert fingerprint([row]) == fingerprint([one(BINARY, 1)])
