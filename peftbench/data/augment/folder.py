"""Write a data folder that includes the augmented rows, to be passed to `--data` instead of the original."""

from __future__ import annotations

import csv
import glob
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from peftbench.data.augment.rows import NewRow
from peftbench.data.examples import Example
from peftbench.data.labels import Names
from peftbench.data.load import load_split
from peftbench.data.sources.content import suffix_of
from peftbench.data.sources.files import format_of, split_path
from peftbench.errors import MissingError, UsageError
from peftbench.spec.model import RunSpec
from peftbench.tasks import FilesSource, TaskSpec
from peftbench.text import clean

SOURCE_ID, OPERATION = "source_id", "operation"
RECORD = "augmentation.json"

Made = Mapping[str, tuple[Iterable[Example], Iterable[NewRow]]]
"""By task: the original examples and the new rows."""


def check_folder(out: Path, spec: RunSpec) -> None:
    """Check that the folder can be written, before the lengthy augmentation starts.

    Raises:
        UsageError: the folder is not empty, or the workload's files cannot share one folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {clean(out)}: not an empty folder", "name a new folder: nothing is overwritten")
    names: dict[str, str] = {}
    for task in spec.tasks:
        if not isinstance(task.source, FilesSource):
            raise UsageError(
                f"--out: task {task.name} of workload {clean(spec.workload)} reads no files, so --data could not use "
                "the folder",
                "omit --out and view rows with --inspect 20; a run augments by itself with --set augment.method=eda",
            )
        for name in filter(None, (task.source.train, task.source.dev, task.source.test)):
            if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
                raise UsageError(f"--out: task {task.name} reads '{clean(name)}', which is outside the data folder")
            if glob.has_magic(name) or suffix_of(PurePath(name)) != PurePath(name).suffix.lower():
                raise UsageError(
                    f"--out: task {task.name} reads '{clean(name)}'; only single, uncompressed files can be written",
                    "name such files in a workload file of your own",
                )
            if names.setdefault(name, task.name) != task.name:
                raise UsageError(
                    f"--out: tasks {names[name]} and {task.name} both read a file named '{clean(name)}', so they "
                    "cannot share a folder",
                    "augment one task at a time, with a workload file for each",
                )


def write_folder(out: Path, spec: RunSpec, made: Made, record: Mapping[str, Any]) -> list[Path]:
    """Write all files of the workload: training files with the new rows appended, the others copied.

    Args:
        out: the folder, empty or absent; see `check_folder`.
        spec: defines the files.
        made: rows of the augmented tasks.
        record: settings and statistics, written to the folder as JSON.

    Returns:
        The files, in the order of the tasks.

    Raises:
        MissingError: a file to copy does not exist, or the folder cannot be written.
    """
    written: list[Path] = []
    try:
        for task in spec.tasks:
            source = task.source
            assert isinstance(source, FilesSource), "check_folder rejects other sources"
            for split, name in (("train", source.train), ("dev", source.dev), ("test", source.test)):
                path = None if name is None else out / name
                if path is None or (split == "test" and not _test_exists(task, source)):
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


def _test_exists(task: TaskSpec, source: FilesSource) -> bool:
    try:
        return split_path(task, source, "test").is_file()
    except MissingError:
        return False


def _write_rows(
    path: Path, task: TaskSpec, source: FilesSource, examples: Iterable[Example], new: Iterable[NewRow]
) -> None:
    id_column = task.id or "id"
    names = load_split(task, "train").label_names
    rows = [_row(task, id_column, example, names) | {SOURCE_ID: "", OPERATION: ""} for example in examples]
    rows += [
        _row(task, id_column, row.example, names) | {SOURCE_ID: row.source_id, OPERATION: row.operation} for row in new
    ]
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
        if source.quoting == "none":
            lines = (list(rows[0]), *(row.values() for row in rows))
            file.writelines(f"{form.join(_on_one_line(cell, form) for cell in line)}\n" for line in lines)
            return
        writer = csv.DictWriter(file, list(rows[0]), delimiter=form, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _on_one_line(cell: object, separator: str) -> str:
    """Return a cell for a file without quoting: line ends and separators replaced by spaces."""
    return " ".join(str(cell).replace(separator, " ").splitlines())


def _row(task: TaskSpec, id_column: str, example: Example, names: Names | None) -> dict[str, Any]:
    label: Any = example.label
    if isinstance(label, tuple):
        label = "|".join(names[each] if names else str(each) for each in label)
    elif not task.is_score:
        label = int(label) if names is None else names[int(label)]
    return {id_column: example.id, **dict(zip(task.text, example.texts, strict=True)), task.label: label}
