"""Predictions, stored compactly: one row for a task's split and epoch, and its examples once for all runs.

`example_sets.examples` is a JSON list of `[id, label]`, or `[id, label, cluster]`, and `prediction_sets.predictions`
one of the predictions in the same order. A label or prediction is a number, or a list of whole numbers where an example
has several. 400,000 binary predictions take 0.8 MB, with their probabilities 5 MB. The view `predictions` has a row for
each example; it is for queries by hand, since SQLite does not round every decimal number to the nearest double.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Any

from peftbench.store.rows import Prediction, ScoredSplit

Row = dict[str, Any]

_COLUMNS = "task, epoch, split, first_position, examples, predictions, probabilities"
_SETS = f"SELECT {_COLUMNS} FROM prediction_sets JOIN example_sets ON example_sets.id = example_set WHERE run_id = ?"


def put(connection: sqlite3.Connection, run_id: str, predictions: Iterable[Prediction], first: int = 0) -> None:
    """Store predictions of tasks, epochs and splits that have none yet.

    Args:
        connection: within a transaction.
        run_id: the run's id.
        predictions: those of a task's split one after another, in the order of its examples.
        first: the position of the first one.
    """
    for (task, epoch, split), group in groupby(predictions, lambda row: (row.task, row.epoch, row.split)):
        rows = list(group)
        probabilities = [row.probabilities for row in rows]
        _put_set(
            connection,
            (run_id, task, epoch, split, first),
            [_example(row.example_id, row.label, row.cluster) for row in rows],
            encoded_list([row.prediction for row in rows]),
            None if probabilities[0] is None else encoded_list(probabilities),
        )
        first += len(rows)


def read(connection: sqlite3.Connection, run_id: str, epoch: int | None, split: ScoredSplit) -> Iterator[Prediction]:
    """Yield the predictions of one epoch on a split, task by task in order of their names."""
    sql = f"{_SETS} AND epoch = ? AND split = ? ORDER BY task"
    for task, of_epoch, of_split, _, examples, predictions, probabilities in connection.execute(
        sql, (run_id, epoch, split)
    ):
        for (example_id, label, cluster), prediction, probability in _examples(examples, predictions, probabilities):
            yield Prediction(task, of_epoch, example_id, label, prediction, cluster, of_split, probability)


def rows_of(connection: sqlite3.Connection, run_id: str) -> Iterator[Row]:
    """Yield a run's predictions as the view has them, lists as JSON, and their probabilities."""
    for task, epoch, split, first, *content in connection.execute(f"{_SETS} ORDER BY prediction_sets.rowid", (run_id,)):
        for number, ((example_id, label, cluster), prediction, probability) in enumerate(_examples(*content)):
            yield {
                "task": task, "epoch": epoch, "position": first + number, "example_id": example_id,
                "label": _plain(label), "prediction": _plain(prediction), "cluster": cluster, "split": split,
                "probabilities": _plain(probability),
            }  # fmt: skip


def put_rows(connection: sqlite3.Connection, run_id: str, rows: Iterable[Row]) -> None:
    """Store rows of the form of `rows_of`; of earlier versions' bundles, without cluster, split or probabilities.

    Raises:
        ValueError: a value is not of its type.
    """
    key = lambda row: (row["task"], row["epoch"], row.get("split", "dev"))  # noqa: E731
    for (task, epoch, split), group in groupby(rows, key):
        given = [_checked(row) for row in group]
        probabilities = [_value(row.get("probabilities")) for row in given]
        _put_set(
            connection,
            (run_id, task, epoch, split, given[0]["position"]),
            [_example(row["example_id"], _value(row["label"]), row.get("cluster")) for row in given],
            encoded_list([_value(row["prediction"]) for row in given]),
            None if probabilities[0] is None else encoded_list(probabilities),
        )


def encoded_list(values: Iterable[Any]) -> str:
    """Return values as a JSON list: whole numbers without a fraction, infinity as a number that overflows to it."""
    shortened = [_shortened(value) for value in values]
    try:
        return json.dumps(shortened, separators=(",", ":"), allow_nan=False)
    except ValueError:  # an infinite number
        return f"[{','.join(map(_encoded, shortened))}]"


def add_functions(connection: sqlite3.Connection) -> None:
    """Define the functions by which migration 8 turns rows into lists."""
    connection.create_function("sha256", 1, _sha256, deterministic=True)
    aggregate: Any = _ListOf  # of any number of arguments, which sqlite3's types do not know
    connection.create_aggregate("value_list", 2, aggregate)
    connection.create_aggregate("example_list", 4, aggregate)


def _put_set(
    connection: sqlite3.Connection, key: Sequence[Any], examples: list[list[Any]], predictions: str, scores: str | None
) -> None:
    text = encoded_list(examples)
    digest = _sha256(text)
    connection.execute("INSERT OR IGNORE INTO example_sets (sha256, examples) VALUES (?, ?)", (digest, text))
    connection.execute(
        "INSERT INTO prediction_sets (run_id, task, epoch, split, first_position, example_set, predictions,"
        " probabilities) VALUES (?, ?, ?, ?, ?, (SELECT id FROM example_sets WHERE sha256 = ?), ?, ?)",
        (*key, digest, predictions, scores),
    )


def _examples(examples: str, predictions: str, probabilities: str | None) -> Iterator[tuple[list[Any], Any, Any]]:
    """Yield id, label and cluster of each example, its prediction and its probabilities."""
    first = json.loads(examples)
    second = json.loads(predictions)
    third = json.loads(probabilities) if probabilities is not None else [None] * len(second)
    for example, prediction, probability in zip(first, second, third, strict=True):
        example_id, label, *cluster = example
        yield [example_id, _decoded(label), *(cluster or [None])], _decoded(prediction), _probabilities(probability)


def _example(example_id: str, label: Any, cluster: str | None) -> list[Any]:
    return [example_id, label] if cluster is None else [example_id, label, cluster]


def _shortened(value: Any) -> Any:
    """Return whole numbers, also within a list, as integers; 0.0 but not -0.0."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 and (value or str(value) == "0.0") else value
    return [_shortened(each) for each in value] if isinstance(value, list | tuple) else value


def _encoded(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_encoded, value))}]"
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    return json.dumps(value)


def _decoded(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else float(value)


def _probabilities(value: Any) -> Any:
    if value is None:
        return None
    return tuple(map(float, value)) if isinstance(value, list) else float(value)


def _plain(value: Any) -> Any:
    return encoded_list(value) if isinstance(value, tuple) else value


def _value(value: Any) -> Any:
    """Return a number, or the content of a JSON list of numbers."""
    if isinstance(value, str):
        value = json.loads(value)
        if not isinstance(value, list) or not all(isinstance(each, int | float) for each in value):
            raise ValueError("a label or prediction that is a text must be a list of numbers")
    return value


def _checked(row: Row) -> Row:
    cluster = row.get("cluster")
    if not isinstance(row["example_id"], str) or not isinstance(row["position"], int):
        raise ValueError("an example has an id that is a text, and a position")
    if cluster is not None and not isinstance(cluster, str):
        raise ValueError("a cluster is a text")
    return row


def _sha256(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class _ListOf:
    """Aggregates values, or examples of three values, into a JSON list in order of position."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, Any]] = []

    def step(self, position: int, *value: Any) -> None:
        """Take the next row: a value, or an example's id, label and cluster."""
        self.rows.append((position, _example(*value) if len(value) > 1 else value[0]))

    def finalize(self) -> str:
        """Return the list."""
        return encoded_list(value for _, value in sorted(self.rows, key=lambda row: row[0]))
