"""`peftbench predict`: use what a run has trained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from peftbench.cli.output import Database, Json, database, print_json, show
from peftbench.cli.runs import RunName

if TYPE_CHECKING:
    from peftbench.store.rows import Run
    from peftbench.tasks import TaskSpec
    from peftbench.training.predictor import Predicted


def predict(
    run: RunName,
    task: Annotated[str, typer.Option("--task", "-t", help="The task whose adapters and head to use.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT...]", help="One text, or two for a pair; - for stdin."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Predict every row of a csv, tsv, jsonl or parquet file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the rows with their predictions as csv here.")
    ] = None,
    best: Annotated[
        Literal["average", "task"],
        typer.Option("--best", help="The best epoch by dev average, or by this task alone."),
    ] = "average",
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Predict with a run's trained weights.

    Texts come as arguments, from a file, or from standard input: one a line, the two of a pair parted by a tab.
    """
    from peftbench.errors import MissingError, UsageError, did_you_mean
    from peftbench.paths import run_folder
    from peftbench.spec import RunSpec
    from peftbench.store.reader import Reader

    where = database(db)
    with Reader(where) as reader:
        record = reader.record(reader.find(run))
    spec = RunSpec.model_validate_json(record.run.spec_json)
    asked = spec.task(task)
    if asked is None:
        names = [one.name for one in spec.tasks]
        raise UsageError(
            f"--task {task}: run {record.run.name} has no such task{did_you_mean(task, names)}",
            f"its tasks: {', '.join(names)}",
        )
    epoch = best_epoch(record.run, {row.task: row.epoch for row in record.task_bests}, asked, best)
    if out is not None and file is None:
        raise UsageError("--out goes with --file")
    rows, inputs = _inputs(asked, texts or [], file)
    if not inputs:
        raise MissingError("there is no text to predict")
    from peftbench.training.predictor import predict as predict_texts

    found = predict_texts(spec, asked, inputs, run_folder(where, record.run.id), epoch, own=best == "task")
    if out is not None:
        _write_csv(out, rows, found)
        show(f"{len(found)} predictions written to {out}")
    elif as_json:
        print_json(
            {
                "run": record.run.name,
                "task": task,
                "epoch": epoch,
                "predictions": [{"texts": list(one), **row.as_dict()} for one, row in zip(inputs, found, strict=True)],
            }
        )
    else:
        _print(record.run, asked, epoch, inputs, found)


def best_epoch(run: Run, task_epochs: dict[str, int], task: TaskSpec, best: str) -> int:
    """Return whose weights `--best average` or `--best task` means.

    Raises:
        MissingError: no epoch is finished.
        UsageError: the tasks share weights.
    """
    from peftbench.errors import MissingError, UsageError

    if run.best_epoch is None:
        raise MissingError(f"run {run.name} has no finished epoch, so no trained weights ({run.state})")
    if best == "average":
        return run.best_epoch
    if task.name not in task_epochs:
        raise UsageError(
            f"--best task: the tasks of method '{run.method}' share weights, so none has an epoch of its own"
        )
    return task_epochs[task.name]


def _inputs(
    task: TaskSpec, texts: list[str], file: Path | None
) -> tuple[list[dict[str, object]], list[tuple[str, ...]]]:
    """Return the rows of a file (for writing back) and the texts to predict."""
    from peftbench.data.sources.files import read_rows
    from peftbench.errors import DataError, MissingError, UsageError

    if file is not None and texts:
        raise UsageError("give texts or --file, not both")
    if file is not None:
        if not file.is_file():
            raise MissingError(f"--file {file}: no such file")
        tabs = file.suffix.lower() == ".csv" and b"\t" in file.open("rb").readline()  # as the study's files
        rows = list(read_rows(file, "tab" if tabs else None))
        for row in rows:
            absent = [column for column in task.text if column not in row.values]
            if absent:
                there = ", ".join(map(str, row.values))
                raise DataError(f"{file}, {row.unit} {row.number}: no column '{absent[0]}'", f"columns there: {there}")
        inputs = [tuple(str(row.values[column] or "").strip() for column in task.text) for row in rows]
        return [dict(row.values) for row in rows], inputs
    if texts and texts != ["-"]:
        if len(texts) != len(task.text):
            raise UsageError(f"task {task.name} takes {len(task.text)} text{'s' * task.is_pair}, not {len(texts)}")
        return [], [tuple(texts)]
    if not texts and sys.stdin.isatty():
        raise UsageError("no text given", "give it as an argument, with --file, or on standard input")
    lines = [line.rstrip("\r\n") for line in sys.stdin]
    inputs = [tuple(line.split("\t")) if task.is_pair else (line,) for line in lines if line.strip()]
    for number, one in enumerate(inputs, start=1):
        if len(one) != len(task.text):
            raise DataError(f"standard input, text {number}: expected two texts parted by a tab, found {len(one)}")
    return [], inputs


def _print(run: Run, task: TaskSpec, epoch: int, inputs: list[tuple[str, ...]], found: list[Predicted]) -> None:
    from peftbench.report.layout import plain_table
    from peftbench.report.tables import run_title
    from peftbench.text import clean

    sure = [] if task.kind == "similarity" else ["probability"]
    show(
        run_title(run),
        f"task {task.name}, epoch {epoch}",
        "",
        plain_table(
            (*task.text, task.label, *sure),
            [
                (
                    *(clean(text, 60) for text in one),
                    row.shown,
                    *([f"{row.probability:.3f}"] if row.probability is not None else []),
                )
                for one, row in zip(inputs, found, strict=True)
            ],
            left=len(task.text),
        ),
    )


def _write_csv(path: Path, rows: list[dict[str, object]], found: list[Predicted]) -> None:
    import csv

    from peftbench.errors import MissingError

    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            columns = dict.fromkeys(column for row in rows for column in row)
            writer = csv.DictWriter(file, [*columns, *(key for key in found[0].as_dict() if key not in columns)])
            writer.writeheader()
            writer.writerows({**row, **one.as_dict()} for row, one in zip(rows, found, strict=True))
    except OSError as error:
        raise MissingError(f"--out {path}: cannot be written: {error.strerror or error}") from error
