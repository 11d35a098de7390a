"""Read rows of a data set on the Hugging Face hub, through `datasets`."""

from __future__ import annotations

from collections.abc import Iterator

from peftbench.data.rows import SourceRow
from peftbench.errors import MissingError
from peftbench.tasks import HubSource, TaskSpec
from peftbench.text import clean


def read_rows(task: TaskSpec, source: HubSource, split: str) -> Iterator[SourceRow]:
    """Yield the rows of one split, downloaded once and then read from the hub's cache.

    Raises:
        MissingError: the data set, configuration or split is not available; other available splits are named.
    """
    import datasets

    datasets.disable_progress_bars()
    name = {"train": source.train, "dev": source.dev, "test": source.test}[split]
    if name is None:
        raise MissingError(f"task {task.name}: the workload names no test split of {clean(source.path, 120)}")
    try:
        rows = datasets.load_dataset(source.path, source.config, split=name, revision=source.revision)
    except Exception as error:  # datasets, huggingface_hub and the network raise different types
        available = [] if isinstance(error, ConnectionError) else _splits(source)
        if available and name.partition("[")[0] not in available:
            raise MissingError(
                f"task {task.name}: {clean(source.path, 120)}{f' ({source.config})' if source.config else ''} has no "
                f"split '{clean(name, 60)}'; its splits: {', '.join(clean(each, 60) for each in available)}",
                f"--set tasks.{task.name}.source.{split}={available[0] if split == 'train' else available[-1]}",
            ) from error
        raise MissingError(
            f"task {task.name}: {source.path}{f' ({source.config})' if source.config else ''}, split "
            f"'{name}', cannot be read from the hub: {clean(error, 300)}",
            "check the name and the network, or use a workload with local files",
        ) from error
    for number, values in enumerate(rows, start=1):
        yield SourceRow(number, dict(values), unit="row")


def _splits(source: HubSource) -> list[str]:
    """Return the names of a data set's splits; an empty list if they cannot be fetched."""
    import datasets

    try:
        return list(datasets.get_dataset_split_names(source.path, source.config, revision=source.revision))
    except Exception:  # the caller reports the original error
        return []
