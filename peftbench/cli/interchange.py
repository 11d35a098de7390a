"""`peftbench export` and `peftbench import`: exchange runs with other programs and other databases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peftbench.cli.naming import RunsFolder, files_of, look_into
from peftbench.cli.output import Anyway, Database, command, database, show
from peftbench.cli.runs import RunName
from peftbench.text import clean

if TYPE_CHECKING:
    from peftbench.interchange.peft_format import ExportedTask
    from peftbench.store.rows import Run, RunRecord

Format = Literal["peft", "merged", "transformers", "csv", "json", "tensorboard", "bundle"]


def export(
    run: RunName,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file or folder to write.")],
    what: Annotated[
        Format,
        typer.Option(
            "--format",
            "-f",
            help="peft: adapters for HF PEFT. merged: full checkpoints. transformers: classification models for "
            "pipelines. bundle: everything.",
        ),
    ],
    best: Annotated[
        Literal["average", "task"],
        typer.Option("--best", help="peft, merged, transformers: best epoch by dev average, or by each task."),
    ] = "average",
    weights: Annotated[
        bool, typer.Option("--weights/--no-weights", help="bundle: include the trained weights or not.")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an earlier export of that name.")] = False,
    anyway: Anyway = False,
    runs_folder: RunsFolder = None,
    db: Database = None,
) -> None:
    """Export a run in the format of another program, or as a bundle for another database.

    peft, merged, transformers, csv and tensorboard write a folder; json and bundle (a zip) write a file.

    Example: peftbench export latest out --format peft
    """
    from peftbench.store.transfer import RowReader

    look_into(runs_folder)
    where = database(db)
    with RowReader(where) as reader:
        record = reader.record(reader.find(run), predictions=True)
        if what in ("peft", "merged", "transformers"):
            _export_weights(record, where, out, what, own=best == "task", force=force, anyway=anyway)
        elif what == "bundle":
            _export_bundle(record, reader, where, out, weights, force)
        else:
            with reader.rows(record.run.id) as rows:
                _export_tables(record, rows, out, what, force)


def _export_weights(
    record: RunRecord, where: Path, out: Path, what: str, *, own: bool, force: bool, anyway: bool
) -> None:
    from peftbench.cli.predict import best_epoch
    from peftbench.interchange.destinations import check_folder, whole_folder
    from peftbench.spec.stored import stored_spec

    check_folder(out, force)  # before the slow imports
    spec = stored_spec(record.run.spec_json)
    task_epochs = {row.task: row.epoch for row in record.task_bests}
    epochs = {task.name: best_epoch(record.run, task_epochs, task, "task" if own else "average") for task in spec.tasks}
    from peftbench.interchange.merged import export_merged
    from peftbench.interchange.peft_format import export_peft
    from peftbench.interchange.trained import TrainedRun
    from peftbench.interchange.transformers_format import export_transformers
    from peftbench.training.inputs import RecordedInputs

    recorded = RecordedInputs(record.run.name, record.run.conditions, anyway)
    source = TrainedRun(spec, files_of(where, record.run), epochs, own, recorded)
    exports = {"peft": export_peft, "merged": export_merged, "transformers": export_transformers}
    about = {**_about(record, what), "spec": spec.model_dump(mode="json")}
    with whole_folder(out, force, about) as folder:
        done = exports[what](source, folder)
        about["tasks"] = {row.task: _facts(row) for row in done}
    show(*(_task_line(row) for row in done), f"written to {out}")


def _facts(row: ExportedTask) -> dict[str, Any]:
    return {"epoch": row.epoch, "logits_within": row.logits_within, "converted_to": row.converted}


def _task_line(row: ExportedTask) -> str:
    converted = f", as {row.converted}" if row.converted else ""
    return f"{row.task}: epoch {row.epoch}{converted}; reloaded, logits within {row.logits_within:.1e} of the run's"


def _export_tables(record: RunRecord, rows: Any, out: Path, what: str, force: bool) -> None:
    from peftbench.interchange import tables, tensorboard
    from peftbench.interchange.destinations import whole_file, whole_folder

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
        show(f"view it: tensorboard --logdir {out}")


def _export_bundle(record: RunRecord, reader: Any, where: Path, out: Path, weights: bool, force: bool) -> None:
    from peftbench.interchange.bundle import write_bundle
    from peftbench.interchange.destinations import whole_file

    folder = files_of(where, record.run)
    with reader.rows(record.run.id) as rows:
        summaries: list[Any] = []
        whole_file(
            out, force, lambda file: summaries.append(write_bundle(record, rows, folder if weights else None, file))
        )
    show(*summaries[0].lines(), f"written to {out}")


def import_bundle(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A file written by export --format bundle.")],
    db: Database = None,
) -> None:
    """Import a run from a bundle into the database. A run that already exists stays unchanged.

    Example: peftbench import run.zip
    """
    from peftbench.interchange.importing import take_bundle
    from peftbench.store.reader import Reader

    where = database(db)
    taken = take_bundle(bundle, where)
    show(*taken.lines())
    with Reader(where) as reader:
        reason = _unusable_reason(reader.run(taken.run_id))
    if reason is not None:
        show(f"note: its rows can be compared, but predict and export will refuse it: {reason}")
    show(f"show it: {command('show', taken.name, db=db)}")


def _unusable_reason(run: Run) -> str | None:
    """Return why a run's weights cannot be used here (its encoder differs or is missing), or None if they can."""
    from peftbench.encoder import find_encoder
    from peftbench.errors import PeftbenchError
    from peftbench.spec import RunSpec
    from peftbench.training.inputs import RecordedInputs

    try:
        files = find_encoder(RunSpec.model_validate_json(run.spec_json).encoder, local=True)
        RecordedInputs(run.name, run.conditions).check_encoder(files)
    except PeftbenchError as error:
        return clean(error.message)
    return None


def _about(record: RunRecord, what: str) -> dict[str, Any]:
    return {"format": what, "run": {"id": record.run.id, "name": record.run.name}}
