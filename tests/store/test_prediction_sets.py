"""Predictions are stored compactly, and read back as they were, in every shape."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench.store import prediction_sets
from peftbench.store.connection import open_for_writing
from peftbench.store.rows import Label, Prediction

_NUMBERS = st.floats(allow_nan=False) | st.integers(0, 9).map(float)
_LISTS = st.lists(st.integers(0, 99), max_size=4).map(tuple)
_TEXTS = st.text(max_size=8).filter(lambda text: text.isprintable())


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    connection = open_for_writing(tmp_path / "runs.db")
    connection.execute("PRAGMA foreign_keys = OFF")
    return connection


def put(connection: sqlite3.Connection, run: str, rows: list[Prediction]) -> None:
    prediction_sets.put(connection, run, rows)


def predictions(labels: list[Label], task: str = "a", split: str = "dev") -> list[Prediction]:
    return [Prediction(task, 1, str(n), label, label, split=split) for n, label in enumerate(labels)]  # type: ignore[arg-type]


def sets(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@given(st.data())
def test_what_is_put_is_read(data: st.DataObject) -> None:
    connection = sqlite3.connect(":memory:")
    path = Path(prediction_sets.__file__).parent / "migrations/0008_prediction_sets.sql"
    statements = path.read_text("utf-8").split(";\n\n")
    for statement in [each for each in statements if each.startswith(("CREATE TABLE", "CREATE TRIGGER"))]:
        connection.execute(statement)
    values = data.draw(st.sampled_from([_NUMBERS, _LISTS]))
    shares = st.floats(0, 1)
    chances = data.draw(st.sampled_from([st.none(), shares, st.lists(shares, min_size=3, max_size=3).map(tuple)]))
    row = st.tuples(values, values, st.none() | _TEXTS, chances)
    given_rows = [
        Prediction("task", 3, f"ä{n}", label, prediction, cluster, "test", chance)
        for n, (label, prediction, cluster, chance) in enumerate(data.draw(st.lists(row, min_size=1, max_size=5)))
    ]
    put(connection, "run", given_rows)
    assert list(prediction_sets.read(connection, "run", 3, "test")) == given_rows
    rows = list(prediction_sets.rows_of(connection, "run"))
    prediction_sets.put_rows(connection, "again", rows)
    assert list(prediction_sets.read(connection, "again", 3, "test")) == given_rows
    assert list(prediction_sets.rows_of(connection, "again")) == rows


def test_runs_on_the_same_examples_share_them_until_the_last_one_goes(connection: sqlite3.Connection) -> None:
    for run in ("one", "two"):
        put(connection, run, predictions([0.0, 1.0]))
    put(connection, "three", predictions([0.0, 1.0, 1.0]))
    assert sets(connection, "example_sets") == 2
    connection.execute("DELETE FROM prediction_sets WHERE run_id = 'one'")
    assert sets(connection, "example_sets") == 2
    connection.execute("DELETE FROM prediction_sets WHERE run_id = 'two'")
    assert sets(connection, "example_sets") == 1


def test_the_view_has_a_row_for_each_example(connection: sqlite3.Connection) -> None:
    put(connection, "run", [*predictions([1.0, 0.25]), *predictions([(0, 2), ()], "b"), *predictions([math.inf], "c")])
    rows = connection.execute(
        "SELECT task, position, example_id, label, prediction, cluster, split FROM predictions ORDER BY position"
    ).fetchall()
    assert rows == [
        ("a", 0, "0", 1.0, 1.0, None, "dev"),
        ("a", 1, "1", 0.25, 0.25, None, "dev"),
        ("b", 2, "0", "[0,2]", "[0,2]", None, "dev"),
        ("b", 3, "1", "[]", "[]", None, "dev"),
        ("c", 4, "0", math.inf, math.inf, None, "dev"),
    ]
    assert [type(value) for value in rows[0][3:5]] == [float, float]


def test_a_large_dev_set_takes_two_bytes_a_binary_prediction(connection: sqlite3.Connection) -> None:
    put(connection, "run", [Prediction("a", 1, str(n), float(n % 2), float(n % 3 == 0)) for n in range(20_000)])
    size = connection.execute("SELECT length(predictions) FROM prediction_sets").fetchone()[0]
    assert size == 2 * 20_000 + 1


@pytest.mark.parametrize(
    "changed",
    [{"example_id": 3}, {"label": "no list"}, {"prediction": '["a"]'}, {"cluster": 1}, {"position": "0"}],
    ids=lambda changed: next(iter(changed)),
)
def test_rows_of_a_bundle_are_checked(connection: sqlite3.Connection, changed: dict[str, object]) -> None:
    row = {"task": "a", "epoch": 1, "position": 0, "example_id": "x", "label": 1.0, "prediction": 1.0, "cluster": None}
    with pytest.raises(ValueError):
        prediction_sets.put_rows(connection, "run", [{**row, **changed}])
