"""A folder of data files with the augmented rows in them, for `--data` in place of the one they were made from."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from peftbench.data.augment.rows import NewRow
from peftbench.data.examples import Example
from peftbench.data.sources.files import format_of, split_path
from peftbench.errors import MissingError, UsageError
from peftbench.spec.model import RunSpec
from peftbench.tasks import FilesSource, TaskSpec
from peftbench.text import clean

SOURCE_ID, OPERATION = "source_id", "operation"
RECORD = "augmentation.json"

Made = Mapping[str, tuple[Iterable[Example], Iterable[NewRow]]]
"""By task: the rows that were there, and the new ones."""


def check_folder(out: Path, spec: RunSpec) -> None:
    """See that the folder can be written, before hours are spent on what goes in.

    Raises:
        UsageError: it holds something, or the workload's files cannot lie side by side in one folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {clean(out)}: not an empty folder", "name a new one: nothing is overwritten")
    names: dict[str, str] = {}
    for task in spec.tasks:
        if not isinstance(task.source, FilesSource):
            raise UsageError(
                f"--out: task {task.name} of workload {clean(spec.workload)} reads no files, so --data could not name "
                "the folder",
                "leave --out away and look with --inspect 20; a run makes the rows itself: --set augment.method=eda",
            )
        for name in filter(None, (task.source.train, task.source.dev, task.source.test)):
            if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
                raise UsageError(f"--out: task {task.name} reads '{clean(name)}', which lies in no folder of its own")
            if names.setdefault(name, task.name) != task.name:
                raise UsageError(
                    f"--out: tasks {names[name]} and {task.name} both read a file named '{clean(name)}', so they "
                    "cannot share a folder",
                    "augment one task at a time, with a workload file for each",
                )


def write_folder(out: Path, spec: RunSpec, made: Made, record: Mapping[str, Any]) -> list[Path]:
    """Write every file that the workload reads: training files with the new rows behind the others, the rest copied.

    Args:
        out: the folder, empty or not there; see `check_folder`.
        spec: names the files.
        made: of the augmented tasks.
        record: settings and figures, kept beside the files as JSON.

    Returns:
        The files, in the order of the tasks.

    Raises:
        MissingError: a file to copy is not there, or the folder cannot be written.
    """
    written: list[Path] = []
    try:
        for task in spec.tasks:
            source = task.source
            assert isinstance(source, FilesSource), "check_folder refuses others"
            for split, name in (("train", source.train), ("dev", source.dev), ("test", source.test)):
                path = None if name is None else out / name
                if path is None or (split == "test" and not _is_there(task, source)):
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                if split == "train" and task.name in made:
                    _write_rows(path, task, source, *made[task.name])
                else:
                    shutil.copyfile(split_path(task, source, split), path)
                written.append(path)
        (out / RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise MissingError(f"--out {clean(out)}: cannot be written: {error.strerror or error}") from error
    return written


def _is_there(task: TaskSpec, source: FilesSource) -> bool:
    try:
        return split_path(task, source, "test").is_file()
    except MissingError:
        return False


def _write_rows(
    path: Path, task: TaskSpec, source: FilesSource, examples: Iterable[Example], new: Iterable[NewRow]
) -> None:
    id_column = task.id or "id"
    rows = [_row(task, id_column, example) | {SOURCE_ID: "", OPERATION: ""} for example in examples]
    rows += [_row(task, id_column, row.example) | {SOURCE_ID: row.source_id, OPERATION: row.operation} for row in new]
    form = format_of(path, source.separator)
    if form == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if form == "jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return
        writer = csv.DictWriter(file, list(rows[0]), delimiter=form, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _row(task: TaskSpec, id_column: str, example: Example) -> dict[str, Any]:
    label = example.label if task.kind == "similarity" else int(example.label)
    return {id_column: example.id, **dict(zip(task.text, example.texts, strict=True)), task.label: label}
