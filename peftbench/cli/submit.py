"""`peftbench submit`: a run's predictions as the six files that the course takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peftbench.cli.output import Database, Json, database, print_json, show
from peftbench.cli.runs import RunName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peftbench.spec import RunSpec
    from peftbench.store.rows import Run
    from peftbench.training.submission import Made


def submit(
    run: RunName,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write the files into.")],
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="[TASK=]DIR", help="The folder of the files, where it is no longer the run's."),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option("--test", metavar="TASK=FILE", help="A task's test file, where the run's workload names none."),
    ] = None,
    best: Annotated[
        Literal["average", "task"],
        typer.Option("--best", help="The best epoch by dev average, or for each task its own best one."),
    ] = "average",
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Write the files that can be made, and say which cannot.")
    ] = False,
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Write a run's predictions of dev and test in the form of the course's leaderboard, and print its dev score.

    Example: peftbench submit dora-r12-1 --out predictions
    """
    from peftbench.cli.predict import best_epoch
    from peftbench.errors import MissingError
    from peftbench.paths import run_folder
    from peftbench.store.reader import Reader

    where = database(db)
    with Reader(where) as reader:
        record = reader.record(reader.find(run))
    spec = _spec(record.run, data or [], test or [])
    from peftbench.training.submission import predicted, wanted_files

    wanted, missing = wanted_files(spec)
    if missing and not (skip_missing and wanted):
        raise MissingError(
            "\n".join(["not every file can be made:", *missing]),
            "--data [TASK=]DIR and --test TASK=FILE say where data are; --skip-missing writes the others",
        )
    _check_free(out, [one.name for one in wanted])
    epochs = {row.task: row.epoch for row in record.task_bests}
    chosen = {one.task.name: best_epoch(record.run, epochs, one.task, best) for one in wanted}
    folder = run_folder(where, record.run.id)
    made = [predicted(spec, one, folder, chosen[one.task.name], own=best == "task") for one in wanted]
    _write(out, made)
    if as_json:
        print_json(_as_json(record.run, out, chosen, made, missing))
    else:
        _print(record.run, out, chosen, made, missing)


def _spec(run: Run, data: Sequence[str], test: Sequence[str]) -> RunSpec:
    """Return the run's spec with its files elsewhere: their places are in no hash, so its weights fit."""
    from peftbench.errors import UsageError, did_you_mean
    from peftbench.spec import RunSpec
    from peftbench.spec.resolve import changed
    from peftbench.tasks import FilesSource

    spec = RunSpec.model_validate_json(run.spec_json)
    readers = [task.name for task in spec.tasks if isinstance(task.source, FilesSource)]
    overrides = []
    for option, key, items in (("--data", "root", data), ("--test", "test", test)):
        for item in items:
            name, _, place = item.rpartition("=") if option == "--data" else item.partition("=")
            if (name and name not in readers) or not (place and (name or option == "--data")):
                raise UsageError(
                    f"{option} {item}: no task '{name}' of the run reads files{did_you_mean(name, readers)}",
                    f"tasks that do: {', '.join(readers) or 'none'}",
                )
            path = json.dumps(str(Path(place).expanduser().resolve()))
            overrides += [f"tasks.{task}.source.{key}={path}" for task in ([name] if name else readers)]
    return changed(run.spec_json, run.origins, overrides).spec


def _check_free(out: Path, names: Sequence[str]) -> None:
    from peftbench.errors import UsageError

    there = [name for name in names if (out / name).exists()]
    if there:
        raise UsageError(f"--out {out}: {there[0]} is there already", "name a new folder: nothing is overwritten")


def _write(out: Path, made: Sequence[Made]) -> None:
    from peftbench.errors import MissingError

    try:
        out.mkdir(parents=True, exist_ok=True)
        for one in made:
            (out / one.name).write_bytes(one.content)
    except OSError as error:
        raise MissingError(f"--out {out}: cannot be written: {error.strerror or error}") from error


def _summary(made: Sequence[Made], split: str) -> tuple[float | None, float | None]:
    """Return the plain average and the leaderboard score of a split; None where a task or a label is missing."""
    from peftbench.analysis.scores import dev_average, leaderboard
    from peftbench.training.submission import FORMS

    found = {one.task: one.score for one in made if one.split == split}
    scores = {name: found.get(name) for name in FORMS}
    known = {name: (score.name, score.value) for name, score in scores.items() if score is not None}
    if len(known) < len(FORMS):
        return None, None
    return dev_average([value for _, value in known.values()]), leaderboard(known)


def _print(run: Run, out: Path, epochs: dict[str, int], made: Sequence[Made], missing: Sequence[str]) -> None:
    from peftbench.report import figures
    from peftbench.report.layout import plain_table
    from peftbench.report.tables import run_title
    from peftbench.text import clean

    rows = [
        (
            one.name,
            f"{one.rows:,}",
            str(epochs[one.task]),
            one.score.name if one.score else "",
            figures.score(one.score.value) if one.score else "no labels",
        )
        for one in made
    ]
    show(run_title(run), "", plain_table(("file", "rows", "epoch", "metric", "score"), rows), "")
    for split in ("dev", "test"):
        average, board = _summary(made, split)
        if board is not None:
            show(f"{split}: leaderboard {figures.score(board)}, plain average {figures.score(average)}")
        elif split == "dev":
            show("dev: no leaderboard score, which takes sst, paraphrase and sts")
    show(*(f"not made: {clean(one)}" for one in missing), f"written into {clean(out)}")


def _as_json(
    run: Run, out: Path, epochs: dict[str, int], made: Sequence[Made], missing: Sequence[str]
) -> dict[str, Any]:
    return {
        "run": run.name,
        "folder": str(out),
        "files": [
            {
                "file": one.name,
                "task": one.task,
                "split": one.split,
                "rows": one.rows,
                "epoch": epochs[one.task],
                "metric": one.score and one.score.name,
                "score": one.score and one.score.value,
            }
            for one in made
        ],
        **{
            split: dict(zip(("average", "leaderboard"), _summary(made, split), strict=True))
            for split in ("dev", "test")
        },
        "not_made": list(missing),
    }
