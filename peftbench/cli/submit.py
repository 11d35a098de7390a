"""`peftbench submit`: write a run's predictions as the six submission files of the course."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peftbench.cli.naming import RunsFolder, files_of, look_into
from peftbench.cli.output import Anyway, Database, Json, database, print_json, show
from peftbench.cli.runs import RunName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peftbench.spec import RunSpec
    from peftbench.store.rows import Run
    from peftbench.study.submission import SubmissionFile


def submit(
    run: RunName,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write the files into.")],
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="[TASK=]DIR", help="Folder of the files, if they have moved since the run."),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option("--test", metavar="TASK=FILE", help="Test file of a task, if the run's workload names none."),
    ] = None,
    best: Annotated[
        Literal["average", "task"],
        typer.Option("--best", help="Use the best epoch by dev average, or the best one of each task."),
    ] = "average",
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Write the possible files and list the others.")
    ] = False,
    anyway: Anyway = False,
    as_json: Json = False,
    runs_folder: RunsFolder = None,
    db: Database = None,
) -> None:
    """Write a run's dev and test predictions in the course's leaderboard format, and print its dev score.

    Example: peftbench submit dora-r12-1 --out predictions
    """
    from peftbench.cli.predict import best_epoch
    from peftbench.errors import MissingError
    from peftbench.store.reader import Reader

    look_into(runs_folder)
    where = database(db)
    with Reader(where) as reader:
        record = reader.record(reader.find(run))
    spec = _spec(record.run, data or [], test or [])
    from peftbench.study.submission import expected_files, predicted
    from peftbench.training.inputs import RecordedInputs

    recorded = RecordedInputs(record.run.name, record.run.conditions, anyway)
    wanted, missing = expected_files(spec, recorded)
    if missing and not (skip_missing and wanted):
        raise MissingError(
            "\n".join(["some files cannot be written:", *missing]),
            "give the data with --data [TASK=]DIR and --test TASK=FILE, or write the others with --skip-missing",
        )
    _check_free(out, [file.name for file in wanted])
    epochs = {row.task: row.epoch for row in record.task_bests}
    chosen = {file.task.name: best_epoch(record.run, epochs, file.task, best) for file in wanted}
    folder = files_of(where, record.run)
    own = best == "task"
    made = [predicted(spec, file, folder, chosen[file.task.name], own=own, recorded=recorded) for file in wanted]
    _write(out, made)
    if as_json:
        print_json(_as_json(record.run, out, chosen, made, missing))
    else:
        _print(record.run, out, chosen, made, missing)


def _spec(run: Run, data: Sequence[str], test: Sequence[str]) -> RunSpec:
    """Return the run's spec with new data paths; paths are not hashed, so the run's weights still match."""
    from peftbench.errors import UsageError, did_you_mean
    from peftbench.spec.resolve import changed
    from peftbench.spec.stored import stored_spec
    from peftbench.tasks import FilesSource

    spec = stored_spec(run.spec_json)
    readers = [task.name for task in spec.tasks if isinstance(task.source, FilesSource)]
    overrides = []
    for option, key, items in (("--data", "root", data), ("--test", "test", test)):
        for item in items:
            name, _, location = item.rpartition("=") if option == "--data" else item.partition("=")
            if (name and name not in readers) or not (location and (name or option == "--data")):
                raise UsageError(
                    f"{option} {item}: no task '{name}' of the run reads files{did_you_mean(name, readers)}",
                    f"tasks that do: {', '.join(readers) or 'none'}",
                )
            path = json.dumps(str(Path(location).expanduser().resolve()))
            overrides += [f"tasks.{task}.source.{key}={path}" for task in ([name] if name else readers)]
    return changed(run.spec_json, run.origins, overrides).spec


def _check_free(out: Path, names: Sequence[str]) -> None:
    from peftbench.errors import UsageError

    existing = [name for name in names if (out / name).exists()]
    if existing:
        raise UsageError(f"--out {out}: {existing[0]} exists already", "name a new folder: nothing is overwritten")


def _write(out: Path, made: Sequence[SubmissionFile]) -> None:
    from peftbench.errors import MissingError

    try:
        out.mkdir(parents=True, exist_ok=True)
        for file in made:
            (out / file.name).write_bytes(file.content)
    except OSError as error:
        raise MissingError(f"--out {out}: cannot be written: {error.strerror or error}") from error


def _summary(made: Sequence[SubmissionFile], split: str) -> tuple[float | None, float | None]:
    """Return the plain average and the leaderboard score of a split; None if a task or its labels are missing."""
    from peftbench.analysis.scores import average_of, leaderboard
    from peftbench.study.submission import FILE_FORMATS

    task_scores = {file.task: file.score for file in made if file.split == split}
    scores = {name: task_scores.get(name) for name in FILE_FORMATS}
    known = {name: (score.name, score.value) for name, score in scores.items() if score is not None}
    if len(known) < len(FILE_FORMATS):
        return None, None
    return average_of(known), leaderboard(known)


def _print(run: Run, out: Path, epochs: dict[str, int], made: Sequence[SubmissionFile], missing: Sequence[str]) -> None:
    from peftbench import formatting
    from peftbench.report.plain_table import plain_table
    from peftbench.report.tables import run_title
    from peftbench.text import clean

    rows = [
        (
            file.name,
            f"{file.rows:,}",
            str(epochs[file.task]),
            file.score.name if file.score else "",
            _scored(file),
        )
        for file in made
    ]
    show(run_title(run), "", plain_table(("file", "rows", "epoch", "metric", "score"), rows), "")
    for split in ("dev", "test"):
        average, board = _summary(made, split)
        if board is not None:
            show(f"{split}: leaderboard {formatting.score(board)}, plain average {formatting.score(average)}")
        elif split == "dev":
            show("dev: no leaderboard score, which needs sst, paraphrase and sts")
    show(*(f"not written: {clean(reason)}" for reason in missing), f"written to {clean(out)}")


def _scored(file: SubmissionFile) -> str:
    """Return a file's score, with the number of labelled rows if some rows have no label."""
    from peftbench import formatting

    if file.score is None:
        return "no labels"
    part = f" ({file.labelled:,} labelled)" if file.labelled < file.rows else ""
    return f"{formatting.score(file.score.value)}{part}"


def _as_json(
    run: Run, out: Path, epochs: dict[str, int], made: Sequence[SubmissionFile], missing: Sequence[str]
) -> dict[str, Any]:
    return {
        "run": run.name,
        "folder": str(out),
        "files": [
            {
                "file": file.name,
                "task": file.task,
                "split": file.split,
                "rows": file.rows,
                "labelled": file.labelled,
                "epoch": epochs[file.task],
                "metric": file.score and file.score.name,
                "score": file.score and file.score.value,
            }
            for file in made
        ],
        **{
            split: dict(zip(("average", "leaderboard"), _summary(made, split), strict=True))
            for split in ("dev", "test")
        },
        "not_made": list(missing),
    }
