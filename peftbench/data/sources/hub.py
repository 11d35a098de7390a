"""Rows of a data set on the Hugging Face hub, through `datasets`."""

from __future__ import annotations

from collections.abc import Iterator

from peftbench.data.rows import Row
from peftbench.errors import MissingError
from peftbench.tasks import HubSource, TaskSpec
from peftbench.text import clean


def read_rows(task: TaskSpec, source: HubSource, split: str) -> Iterator[Row]:
    """Yield the rows of one split; downloaded once, then from the hub's own cache.

    Raises:
        MissingError: the data set, configuration or split cannot be had.
    """
    import datasets

    datasets.disable_progress_bars()
    name = source.train if split == "train" else source.dev
    try:
        rows = datasets.load_dataset(source.path, source.config, split=name, revision=source.revision)
    except Exception as error:  # datasets, huggingface_hub and the network each raise their own
        raise MissingError(
            f"task {task.name}: {source.path}{f' ({source.config})' if source.config else ''}, split "
            f"'{name}', cannot be read from the hub: {clean(error, 300)}",
            "check the name and the network, or use a workload with local files",
        ) from error
    for number, values in enumerate(rows, start=1):
        yield Row(number, dict(values), unit="row")
