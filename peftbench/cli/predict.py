"""`peftbench predict`: predict with the trained weights of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peftbench.analysis.input_lengths import described, total
from peftbench.cli.naming import RunsFolder, files_of, look_into
from peftbench.cli.output import Anyway, Database, Json, database, print_json, show
from peftbench.cli.predict_input import FileRows, Texts, given_texts, is_file
from peftbench.cli.predict_output import PredictedRows, check_out
from peftbench.cli.runs import RunName
from peftbench.store.conditions import InputLengths
from peftbench.text import clean

if TYPE_CHECKING:
    from peftbench.data.rows import SourceRow
    from peftbench.store.rows import Run
    from peftbench.tasks import TaskSpec
    from peftbench.training.predictor import Predictions, Predictor, TextPrediction


def predict(
    run: RunName,
    task: Annotated[str, typer.Option("--task", "-t", help="The task whose adapters and head are used.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT...]", help="One text, or two for a sentence pair; - for stdin."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Predict every row of a csv, tsv, jsonl or parquet file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the rows with their predictions to this csv file.")
    ] = None,
    best: Annotated[
        Literal["average", "task"],
        typer.Option("--best", help="Use the best epoch by dev average, or by this task."),
    ] = "average",
    anyway: Anyway = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite --out if it exists.")] = False,
    raw_cells: Annotated[
        bool,
        typer.Option(
            "--raw-cells", help="Write texts unchanged, including those that a spreadsheet would run as formulas."
        ),
    ] = False,
    as_json: Json = False,
    runs_folder: RunsFolder = None,
    db: Database = None,
) -> None:
    """Predict with a run's trained weights.

    Texts come as arguments, from a file, or from standard input: one per line, the two of a pair separated by a tab.

    Example: peftbench predict latest --task sst 'a fine film'
    """
    from peftbench.errors import MissingError, UsageError, did_you_mean
    from peftbench.spec.stored import stored_spec
    from peftbench.store.reader import Reader

    look_into(runs_folder)
    where = database(db)
    with Reader(where) as reader:
        record = reader.record(reader.find(run))
    spec = stored_spec(record.run.spec_json)
    task_spec = spec.task(task)
    if task_spec is None:
        names = [known_task.name for known_task in spec.tasks]
        raise UsageError(
            f"--task {task}: run {record.run.name} has no such task{did_you_mean(task, names)}",
            f"its tasks: {', '.join(names)}",
        )
    epoch = best_epoch(record.run, {row.task: row.epoch for row in record.task_bests}, task_spec, best)
    if out is not None and file is None:
        raise UsageError("--out needs --file", "add --file FILE, or leave --out away")
    if file is not None and texts:
        raise UsageError("give texts or --file, not both")
    if file is not None and not is_file(file):
        raise MissingError(f"--file {clean(file, 300)}: no such file")
    from peftbench.store.conditions import label_names

    classes = label_names(record.run.conditions, task_spec.name, task_spec.labels)
    inputs = [] if file is not None else given_texts(task_spec, texts or [])
    rows = None if file is None else FileRows(task_spec, file)
    columns: list[str] = []
    if rows is not None and out is not None and file is not None:
        check_out(out, file, force)
        columns = rows.columns()

    def predictor() -> Predictor:
        from peftbench.training.inputs import RecordedInputs
        from peftbench.training.predictor import Predictor

        recorded = RecordedInputs(record.run.name, record.run.conditions, anyway)
        folder = files_of(where, record.run)
        return Predictor(spec, task_spec, folder, epoch, own=best == "task", recorded=recorded)

    if rows is not None and out is not None:
        made = _to_file(out, rows, columns, predictor(), task_spec, classes, raw_cells)
        show(*made.summary_lines(spec.encoder.max_length, out))
        return
    made = Done()
    results: list[tuple[tuple[str, ...], TextPrediction | None]] = []
    if rows is None:
        predictions = predictor()(inputs)
        made.count(predictions, 0)
        results = list(zip(inputs, predictions.rows, strict=True))
    else:
        parts = list(rows.chunks())
        ask = predictor()
        for part in parts:
            results += zip([texts for _, texts in part], _predicted(part, ask, made), strict=True)
    if not results:
        raise MissingError("no text to predict")
    if as_json:
        print_json(
            {
                "run": record.run.name,
                "task": task,
                "epoch": epoch,
                "cut": made.lengths["truncated"],
                "divided": made.lengths["divided"],
                "windows": made.lengths["windows"],
                "empty": made.empty,
                "predictions": [
                    {"texts": list(sentences), **_as_dict(task_spec, row, classes)} for sentences, row in results
                ],
            }
        )
    else:
        _print(record.run, task_spec, epoch, results, classes)
        if lines := made.summary_lines(spec.encoder.max_length, None):
            show("", *lines)


@dataclass(slots=True)
class Done:
    """Counts of the predictions made, for the summary."""

    predicted: int = 0
    without_text: int = 0
    guarded: int = 0
    empty: int = 0
    lengths: InputLengths = field(default_factory=lambda: total(()))

    def count(self, predictions: Predictions, without_text: int) -> None:
        """Add the counts of a chunk."""
        self.predicted += len(predictions.rows)
        self.lengths = total((self.lengths, predictions.lengths))
        self.without_text += without_text
        self.empty += predictions.empty

    def summary_lines(self, max_length: int, out: Path | None) -> list[str]:
        """Return the summary lines for the user."""
        lines = [] if out is None else [f"{self.predicted:,} predictions written to {clean(out, 300)}"]
        if (long := described(self.lengths, max_length)) is not None:
            lines.append(long)
        if self.empty:
            lines.append(f"{self.empty:,} of {self.lengths['inputs']:,} inputs have no content after the tokeniser")
        if self.without_text:
            lines.append(f"{self.without_text:,} rows have no text and no prediction")
        if self.guarded:
            lines.append(
                f"{self.guarded:,} cells changed: control characters, and formulas that a spreadsheet would run "
                "(--raw-cells keeps them)"
            )
        return lines


def _predicted(part: list[tuple[SourceRow, Texts]], ask: Predictor, made: Done) -> list[TextPrediction | None]:
    """Return the prediction of each row, None for a row with a missing text."""
    texts = [texts for _, texts in part if all(texts)]
    predictions = ask(texts)
    made.count(predictions, len(part) - len(texts))
    answers = iter(predictions.rows)
    return [next(answers) if all(texts) else None for _, texts in part]


def _to_file(
    out: Path,
    rows: FileRows,
    columns: list[str],
    ask: Predictor,
    task: TaskSpec,
    names: tuple[str, ...] | None,
    raw: bool,
) -> Done:
    from peftbench.errors import MissingError

    made = Done()
    keys = list(_as_dict(task, None, names))
    with PredictedRows(out, columns, keys, raw) as file:
        for part in rows.chunks():
            predictions = _predicted(part, ask, made)
            file.write(
                (row.values, list(_as_dict(task, prediction, names).values()))
                for (row, _), prediction in zip(part, predictions, strict=True)
            )
        if not made.predicted + made.without_text:
            raise MissingError("no text to predict")
    made.guarded = file.guarded
    return made


def _as_dict(task: TaskSpec, row: TextPrediction | None, names: tuple[str, ...] | None) -> dict[str, Any]:
    """Return a prediction as output columns; all None if the row has no prediction."""
    keys = ["prediction", *([] if not _has_probability(task) else ["probability"])]
    cells: dict[str, Any] = dict.fromkeys(keys) if row is None else {**row.as_dict()}
    if names is not None:
        cells["prediction_label"] = None if row is None else _named(row, names)
    return cells


def _has_probability(task: TaskSpec) -> bool:
    return not task.is_score and task.kind != "tokens"


def _named(row: TextPrediction, names: tuple[str, ...]) -> str | list[str]:
    if isinstance(row.prediction, tuple):
        return [names[label] for label in row.prediction]
    return names[int(row.prediction)]


def _shown(task: TaskSpec, row: TextPrediction, names: tuple[str, ...] | None, text: str) -> str:
    """Return a prediction for display: of tokens the spans, of several labels their names."""
    if task.kind == "tokens":
        from peftbench.metrics.spans import spans_of

        words = text.split(" ")
        spans = spans_of(_named(row, names or ()))
        return ", ".join(f"{kind}: {' '.join(words[first : last + 1])}" for kind, first, last in spans) or "none"
    if isinstance(row.prediction, tuple):
        return ", ".join(names[label] if names else str(label) for label in row.prediction) or "none"
    if row.probability is None:
        return f"{row.number:.3f}"
    return str(int(row.number)) if names is None else f"{int(row.number)} {names[int(row.number)]}"


def best_epoch(run: Run, task_epochs: dict[str, int], task: TaskSpec, best: str) -> int:
    """Return the epoch whose weights `--best average` or `--best task` selects.

    Raises:
        MissingError: no epoch is finished.
        UsageError: `task` was chosen, but the tasks share weights.
    """
    from peftbench.errors import MissingError, UsageError

    if run.best_epoch is None:
        raise MissingError(f"run {run.name} has no finished epoch, so no trained weights ({run.state})")
    if best == "average":
        return run.best_epoch
    if task.name not in task_epochs:
        raise UsageError(
            f"--best task: the tasks of method '{run.method}' share weights, so no task has a best epoch of its own"
        )
    return task_epochs[task.name]


def _print(
    run: Run,
    task: TaskSpec,
    epoch: int,
    results: list[tuple[tuple[str, ...], TextPrediction | None]],
    names: tuple[str, ...] | None,
) -> None:
    from peftbench import formatting
    from peftbench.report.plain_table import plain_table
    from peftbench.report.tables import run_title

    sure = ["probability"] if _has_probability(task) and task.kind != "multilabel" else []

    def cells(texts: tuple[str, ...], row: TextPrediction | None) -> list[str]:
        if row is None:
            return [formatting.NOTHING] * (1 + len(sure))
        probability = row.probability
        return [
            clean(_shown(task, row, names, texts[0]), 60),
            *([f"{probability:.3f}"] if isinstance(probability, float) else []),
        ]

    show(
        run_title(run),
        f"task {task.name}, epoch {epoch}",
        "",
        plain_table(
            (*(clean(name, 40) for name in task.text), clean(task.label, 40), *sure),
            [(*(clean(text, 60) for text in texts), *cells(texts, row)) for texts, row in results],
            left=len(task.text),
        ),
    )
