"""Read a split of a data set on the Hugging Face hub, through `datasets`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peftbench.data.label_lists import checked_tags
from peftbench.data.labels import Names, listed
from peftbench.data.rows import SourceRow
from peftbench.errors import DataError, MissingError
from peftbench.store.conditions import SplitReading
from peftbench.tasks import SEVERAL_LABELS, HubSource, TaskSpec
from peftbench.text import clean

_COMMIT = re.compile(r"[0-9a-f]{40}")
_UNLABELLED = -1  # of rows whose label is not published; never a class


@dataclass(frozen=True, slots=True)
class HubSplit:
    """A split that was loaded: its rows in order, and how it was read.

    label_names: the class names that the data set gives its label column, which the rows then have for labels.
    """

    rows: Iterator[SourceRow]
    reading: SplitReading
    label_names: Names | None = None


def read_split(task: TaskSpec, source: HubSource, split: str) -> HubSplit:
    """Load one split, downloaded once and then read from the hub's cache.

    Where the label column is a `datasets.ClassLabel`, or lists of it, the rows have class names for labels, and None
    for -1.

    Raises:
        MissingError: the data set, configuration or split is not available (other available splits are named), or
            the cache has another commit than the one asked for.
        DataError: no label of the split is published, or the task's classes are not those of the data set, or no tags.
    """
    name = {"train": source.train, "dev": source.dev, "test": source.test}[split]
    if name is None:
        raise MissingError(f"task {task.name}: the workload names no test split of {clean(source.path, 120)}")
    rows = _loaded(task, source, split, name)
    reading = _reading(source, rows)
    _check_revision(task, source, reading.get("revision"))
    _check_published(task, source, name, rows)
    names = _class_names(task, source, rows)
    return HubSplit(_rows(rows, task, names), reading, names)


def named(source: HubSource) -> str:
    """Return the data set and its configuration, for messages."""
    return f"{clean(source.path, 120)}{f' ({clean(source.config, 60)})' if source.config else ''}"


def _loaded(task: TaskSpec, source: HubSource, split: str, name: str) -> Any:
    import datasets

    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(source.path, source.config, split=name, revision=source.revision)
    except Exception as error:  # datasets, huggingface_hub and the network raise different types
        available = [] if isinstance(error, ConnectionError) else _splits(source)
        if available and name.partition("[")[0] not in available:
            raise MissingError(
                f"task {task.name}: {named(source)} has no "
                f"split '{clean(name, 60)}'; its splits: {', '.join(clean(each, 60) for each in available)}",
                f"--set tasks.{task.name}.source.{split}={available[0] if split == 'train' else available[-1]}",
            ) from error
        raise MissingError(
            f"task {task.name}: {named(source)}, split '{clean(name, 60)}', cannot be read from the hub: "
            f"{clean(error, 300)}",
            "check the name and the network, or use a workload with local files",
        ) from error


def _splits(source: HubSource) -> list[str]:
    """Return the names of a data set's splits; an empty list if they cannot be fetched."""
    import datasets

    try:
        return list(datasets.get_dataset_split_names(source.path, source.config, revision=source.revision))
    except Exception:  # the caller reports the original error
        return []


def _rows(rows: Any, task: TaskSpec, names: Names | None) -> Iterator[SourceRow]:
    of_classes = _class_label(task, rows) is not None
    for number, values in enumerate(rows, start=1):
        row = dict(values)
        if of_classes:
            row[task.label] = _label(row[task.label], names)
        yield SourceRow(number, row, unit="row")


def _label(value: Any, names: Names | None) -> Any:
    """Return a class, or a list of them, by name; None where it, or one of the list, is not published."""
    if isinstance(value, list):
        labels = [_label(each, names) for each in value]
        return None if None in labels else labels
    if value is None or value == _UNLABELLED:
        return None
    return value if names is None else names[value]


def _reading(source: HubSource, rows: Any) -> SplitReading:
    """Return the rows read and the commit that they are of, or why it is not known."""
    revision = _commit(rows)
    if revision is not None:
        return {"rows": len(rows), "revision": revision}
    local = Path(source.path).is_dir()
    why = "a local folder, which has no commit" if local else "datasets does not say which commit it read"
    return {"rows": len(rows), "revision": None, "revision_unknown": why}


def _commit(rows: Any) -> str | None:
    """Return the commit that loaded rows are of, with or without a network.

    `datasets` resolves a branch or tag once, and names the folder of its Arrow files, and the files that it downloads,
    by the commit.
    """
    for file in rows.cache_files:
        folder = Path(file["filename"]).parent.name
        if _COMMIT.fullmatch(folder):
            return folder
    for url in rows.info.download_checksums or {}:
        commit = re.match(r"hf://datasets/[^@]+@([0-9a-f]{40})/", url)
        if commit is not None:
            return commit[1]
    return None


def _check_revision(task: TaskSpec, source: HubSource, revision: str | None) -> None:
    """Check that the commit asked for was read: without a network `datasets` reads the newest one in its cache.

    Raises:
        MissingError: it was not.
    """
    asked = source.revision
    if asked is not None and revision is not None and _COMMIT.fullmatch(asked) and asked != revision:
        raise MissingError(
            f"task {task.name}: commit {asked} of {named(source)} is not in the cache, which has {revision}, and the "
            "hub was not reached",
            f"try again with a network and without HF_HUB_OFFLINE, or set tasks.{task.name}.source.revision={revision}",
        )


def _check_published(task: TaskSpec, source: HubSource, name: str, rows: Any) -> None:
    """Check that a split has labels: those of benchmarks' test splits are often withheld, and are -1 in every row.

    Raises:
        DataError: it has none.
    """
    may_be_score = task.kind == "regression" or (task.kind == "similarity" and task.low <= _UNLABELLED)
    if may_be_score or task.label not in rows.column_names or not len(rows):
        return
    labels = rows[task.label]
    if labels[0] == _UNLABELLED and all(label == _UNLABELLED for label in labels):
        raise DataError(
            f"{named(source)}, split '{clean(name, 60)}': the labels are not published: '{clean(task.label, 40)}' is "
            f"-1 in all {len(rows):,} rows",
            "a run needs labels: split.select=0.5, without a test split in the source, tests on a half of dev",
        )


def _class_label(task: TaskSpec, rows: Any) -> Any | None:
    """Return the `datasets.ClassLabel` of a label column, or of the items of its lists; None if there is none."""
    import datasets

    feature = rows.features.get(task.label)
    if task.kind in SEVERAL_LABELS:
        feature = feature.feature if isinstance(feature, datasets.List | datasets.LargeList) else None
    return feature if isinstance(feature, datasets.ClassLabel) and not task.is_score else None


def _class_names(task: TaskSpec, source: HubSource, rows: Any) -> Names | None:
    """Return the names of the label column's classes; None if it has none, or the task's own labels are numbers.

    Raises:
        DataError: they are not as many as the task has classes, or not those that the task names.
    """
    feature = _class_label(task, rows)
    names = tuple(str(name).strip() for name in (feature and feature.names) or ())
    if not all(names) or not names or len(set(names)) < len(names):
        return None
    classes = task.classes or 2
    if task.labels is not None and set(task.labels) != set(names):
        if all(name.isdecimal() for name in task.labels):
            return None
        raise DataError(
            f"{named(source)}: the classes of '{clean(task.label, 40)}' are {listed(names)}, and task {task.name} "
            f"names {listed(task.labels)}",
            f"tasks.{task.name}.labels=none takes the data set's own names and order",
        )
    if len(names) != classes:
        kind = f" and tasks.{task.name}.kind=classes" if task.kind == "binary" else ""
        raise DataError(
            f"{named(source)}: '{clean(task.label, 40)}' has {len(names)} classes ({listed(names)}), and task "
            f"{task.name} has {classes}",
            f"set tasks.{task.name}.classes={len(names)}{kind}",
        )
    return checked_tags(names, named(source)) if task.kind == "tokens" else names
