"""`peftbench augment`: generate augmented training rows, inspect them and write them as a data folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peftbench.cli.output import Data, Json, command, console, print_json, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from peftbench.data.augment.quality import Quality
    from peftbench.data.augment.rows import Augmenter, NewRow, NewRows
    from peftbench.data.examples import Example
    from peftbench.spec import RunSpec
    from peftbench.tasks import TaskSpec


def augment(
    workload: Annotated[str, typer.Option("--workload", "-w", metavar="NAME", help="A workload, or a .toml file.")],
    method: Annotated[
        Literal["eda", "backtranslate", "both"], typer.Option("--method", help="The augmentation method.")
    ] = "eda",
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write a data folder for --data here (new or empty).")
    ] = None,
    inspect: Annotated[
        int, typer.Option("--inspect", metavar="N", min=0, max=1000, help="Show N new rows beside their source rows.")
    ] = 0,
    preset: Annotated[
        str, typer.Option("--preset", "-p", metavar="NAME", help="The preset whose [augment] table is used.")
    ] = "dora-r12-augmented",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value, such as augment.eda.n_aug=4."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Augment the training rows of SST and STS by EDA, back translation or both; dev and test stay unchanged.

    Example: peftbench augment --workload paper --data DIR --method eda --inspect 20 --out augmented
    """
    from peftbench.data.augment.folder import check_folder, write_folder
    from peftbench.data.augment.quality import quality
    from peftbench.data.augment.rows import Augmenter
    from peftbench.report import augmentation
    from peftbench.spec import resolve

    given = [f"augment.method={method}", *(overrides or [])]
    spec = resolve(preset, workload, data=data or (), overrides=given).spec
    assert spec.augment is not None, "augment.method was set"
    if out is not None:
        check_folder(out, spec)
    augmenter = Augmenter(spec.augment)
    tasks = [task for task in spec.tasks if spec.augments(task.name)]
    made, notes = _generate(spec, tasks, augmenter, quiet=as_json)
    embedder, problem = _embedder(spec)
    notes += [problem] if problem else []
    with _bar("measuring quality", quiet=as_json):
        qualities = {task: quality(examples, new, embedder) for task, (examples, new) in made.items()}
    record = _record(spec, augmenter, qualities, None if embedder is None else embedder.name, notes)
    written = []
    if out is not None:
        files = {task: (examples, new.rows) for task, (examples, new) in made.items()}
        written = write_folder(out, spec, files, record)
    if as_json:
        print_json(record | {"files": [str(path) for path in written]})
        return
    for number, task in enumerate(tasks):
        share = inspect // len(tasks) + (number < inspect % len(tasks))
        if share:
            show(augmentation.pairs(task, _sampled_rows(*made[task.name], share)), "")
    show(augmentation.quality_table(qualities))
    if embedder is not None:
        show(f"similarity: cosine of mean-pooled vectors of {embedder.name}")
    show(*(f"note: {note}" for note in notes))
    if out is not None:
        show(
            "",
            *(f"written: {path}" for path in written),
            f"next: {command('run', '--preset', 'dora-r12', '--workload', workload, '--data', str(out), db=None)}",
        )


def _generate(
    spec: RunSpec, tasks: Sequence[TaskSpec], augmenter: Augmenter, *, quiet: bool
) -> tuple[dict[str, tuple[Sequence[Example], NewRows]], list[str]]:
    """Return the source rows and the new rows of each task, and notes for the user."""
    from peftbench.data.augment.rows import guarded_texts
    from peftbench.data.load import load_split
    from peftbench.spec.augment import advice
    from peftbench.training.sampling import limited_rows

    made: dict[str, tuple[Sequence[Example], NewRows]] = {}
    notes: list[str] = []
    for task in tasks:
        examples = load_split(task, "train").examples
        rows = limited_rows(task.name, len(examples), spec.train.limit_examples)
        examples = tuple(examples[row] for row in rows)
        guarded, problem = guarded_texts(task, load_split(task, "dev").examples)
        warning = advice(augmenter.settings.eda.n_aug, len(examples), task.name)
        notes += [note for note in (problem, warning if augmenter.settings.uses_eda else None) if note]
        with _bar(task.name, quiet=quiet) as report_progress:
            made[task.name] = (examples, augmenter.new_rows(task.name, examples, guarded, report_progress))
    augmenter.close()
    return made, notes


@contextmanager
def _bar(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal; show nothing where the output is not a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    out = console()
    with Progress(*columns, console=out, transient=True, disable=quiet or not out.is_terminal) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def _embedder(spec: RunSpec) -> tuple[Any, str | None]:
    from peftbench.data.augment.quality import Embedder
    from peftbench.errors import MissingError

    try:
        return Embedder(spec.encoder), None
    except MissingError as error:
        return None, f"no similarity: {error.message}"


def _sampled_rows(examples: Sequence[Example], new: NewRows, count: int) -> list[tuple[Example, NewRow]]:
    """Draw a random sample of rows with a fixed seed, ordered by operation."""
    from random import Random

    sources = {example.id: example for example in examples}
    chosen = Random(0).sample(new.rows, min(count, len(new.rows)))
    chosen.sort(key=lambda row: row.operation)
    return [(sources[row.source_id], row) for row in chosen]


def _record(
    spec: RunSpec, augmenter: Augmenter, qualities: dict[str, list[Quality]], encoder: str | None, notes: list[str]
) -> dict[str, Any]:
    from dataclasses import asdict

    from peftbench.version import __version__

    return {
        "peftbench": __version__,
        "workload": spec.workload,
        "augment": augmenter.settings.model_dump(mode="json"),
        **augmenter.facts,
        "similarity_by": encoder,
        "tasks": {task: [asdict(quality) for quality in rows] for task, rows in qualities.items()},
        "notes": notes,
    }
