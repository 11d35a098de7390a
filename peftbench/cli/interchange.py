"""`peftbench export` and `peftbench import`: a run in other programs' formats, and runs of other databases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peftbench.cli.output import Database, command, database, show
from peftbench.cli.runs import RunName

if TYPE_CHECKING:
    from peftbench.interchange.peft_format import ExportedTask
    from peftbench.store.rows import RunRecord

Format = Literal["peft", "merged", "csv", "json", "tensorboard", "bundle"]


def export(
    run: RunName,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file or folder to make.")],
    what: Annotated[
        Format,
        typer.Option(
            "--format", "-f", help="peft: adapters for HF PEFT. merged: plain checkpoints. bundle: all of it."
        ),
    ],
    best: Annotated[
        Literal["average", "task"],
        typer.Option("--best", help="peft, merged: the best epoch by dev average, or each task's own."),
    ] = "average",
    weights: Annotated[
        bool, typer.Option("--weights/--no-weights", help="bundle: with the trained weights, or without.")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export of that name.")] = False,
    db: Database = None,
) -> None:
    """Write a run in a format of other programs, or as a bundle for another database.

    peft, merged, csv and tensorboard make a folder; json and bundle (a zip) make a file.
    """
    from peftbench.store.transfer import RowReader

    where = database(db)
    with RowReader(where) as reader:
        record = reader.record(reader.find(run), predictions=True)
        if what in ("peft", "merged"):
            _export_weights(record, where, out, what, own=best == "task", force=force)
        elif what == "bundle":
            _export_bundle(record, reader, where, out, weights, force)
        else:
            with reader.rows(record.run.id) as rows:
                _export_tables(record, rows, out, what, force)


def _export_weights(record: RunRecord, where: Path, out: Path, what: str, *, own: bool, force: bool) -> None:
    from peftbench.cli.predict import best_epoch
    from peftbench.interchange.places import check_folder, whole_folder
    from peftbench.paths import run_folder
    from peftbench.spec import RunSpec

    check_folder(out, force)  # before anything heavy is loaded
    spec = RunSpec.model_validate_json(record.run.spec_json)
    task_epochs = {row.task: row.epoch for row in record.task_bests}
    epochs = {task.name: best_epoch(record.run, task_epochs, task, "task" if own else "average") for task in spec.tasks}
    from peftbench.interchange.merged import export_merged
    from peftbench.interchange.peft_format import export_peft
    from peftbench.interchange.trained import Source

    source = Source(spec, run_folder(where, record.run.id), epochs, own)
    about = {**_about(record, what), "spec": spec.model_dump(mode="json")}
    with whole_folder(out, force, about) as folder:
        done = (export_peft if what == "peft" else export_merged)(source, folder)
        about["tasks"] = {row.task: _facts(row) for row in done}
    show(*(_task_line(row) for row in done), f"written to {out}")


def _facts(row: ExportedTask) -> dict[str, Any]:
    return {"epoch": row.epoch, "logits_within": row.logits_within, "converted_to": row.converted}


def _task_line(row: ExportedTask) -> str:
    converted = f", as {row.converted}" if row.converted else ""
    return f"{row.task}: epoch {row.epoch}{converted}; loaded again, logits within {row.logits_within:.1e} of the run's"


def _export_tables(record: RunRecord, rows: Any, out: Path, what: str, force: bool) -> None:
    from peftbench.interchange import tables, tensorboard
    from peftbench.interchange.places import whole_file, whole_folder

    if what == "json":
        whole_file(out, force, lambda file: tables.write_json(record, rows, file))
        show(f"written to {out}")
        return
    with whole_folder(out, force, _about(record, what)) as folder:
        if what == "csv":
            counts = tables.write_csv(rows, folder)
        else:
            counts = tensorboard.write_folders(record, rows["losses"], rows["samples"], folder)
    unit = "row" if what == "csv" else "point"
    show(*(f"{name}: {count} {unit}{'s' * (count != 1)}" for name, count in counts.items()), f"written to {out}")
    if what == "tensorboard":
        show(f"see it: tensorboard --logdir {out}")


def _export_bundle(record: RunRecord, reader: Any, where: Path, out: Path, weights: bool, force: bool) -> None:
    from peftbench.interchange.bundle import write_bundle
    from peftbench.interchange.places import whole_file
    from peftbench.paths import run_folder

    folder = run_folder(where, record.run.id)
    with reader.rows(record.run.id) as rows:
        found: list[Any] = []
        whole_file(out, force, lambda file: found.append(write_bundle(record, rows, folder if weights else None, file)))
    show(*found[0].lines(), f"written to {out}")


def import_bundle(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A file that export --format bundle made.")],
    db: Database = None,
) -> None:
    """Take a run from a bundle into the database. One that is there already stays as it is."""
    from peftbench.interchange.importing import take_bundle

    where = database(db)
    taken = take_bundle(bundle, where)
    show(*taken.lines())
    show(f"see it: {command('show', taken.name, db=db)}")


def _about(record: RunRecord, what: str) -> dict[str, Any]:
    return {"format": what, "run": {"id": record.run.id, "name": record.run.name}}
