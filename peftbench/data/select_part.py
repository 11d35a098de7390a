"""Divide dev in two: the part that chooses the epoch, and the part that becomes the test split."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from peftbench.data.encode import EncodedSplit
from peftbench.errors import DataError
from peftbench.tasks import TaskSpec

_Item = TypeVar("_Item")

_ROUNDING = 1e-9  # 0.7 * 30 is a little below 21
FEWEST = 2  # examples of each part


def divide(task: TaskSpec, dev: EncodedSplit, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that choose the epoch and the rows of the test split, each sorted.

    The division depends on the examples only: every run on the same data has the same one, whatever its seed.
    It is stratified: both parts have the classes, combinations of labels, or numbers of tagged words in dev's
    proportions, or the same range of scores. Where rows belong
    to groups (`task.group`), whole groups are divided instead.

    Args:
        task: of the examples.
        dev: all of dev.
        fraction: of the examples, or groups, that choose the epoch.

    Raises:
        DataError: one of the parts would have fewer than two examples.
    """
    clusters = dev.clusters
    if clusters is None:
        order = sorted(range(len(dev)), key=lambda row: (dev.stratum(row), _hash(dev.example_ids[row])))
        selected = _evenly(order, fraction, lambda row: dev.example_ids[row])
    else:
        names = sorted({str(cluster) for cluster in clusters}, key=_hash)
        chosen = set(_evenly(names, fraction))
        if min(len(chosen), len(names) - len(chosen)) < FEWEST:
            raise DataError(
                f"{task.name} dev: split.select={fraction:g} of {len(names)} groups leaves {len(chosen)} to choose the "
                f"epoch and {len(names) - len(chosen)} to test on; each needs {FEWEST} at least, to be resampled",
                f'choose a fraction nearer to one half, or set tasks.{task.name}.group=""',
            )
        selected = [row for row, cluster in enumerate(clusters) if str(cluster) in chosen]
    rows = np.sort(np.asarray(selected, dtype=np.int64))
    rest = np.setdiff1d(np.arange(len(dev)), rows)
    if min(len(rows), len(rest)) < FEWEST:
        raise DataError(
            f"{task.name} dev: split.select={fraction:g} of {len(dev)} examples leaves {len(rows)} to choose the epoch "
            f"and {len(rest)} to test on; each needs {FEWEST} at least",
            "choose a fraction nearer to one half, or give a test split of its own (split.dev_is=select)",
        )
    return rows, rest


def _evenly(items: Sequence[_Item], fraction: float, name: Callable[[_Item], str] = str) -> list[_Item]:
    """Return a fraction of ordered items: of as many blocks of neighbours, the one whose hash is the lowest.

    Of more than half it is all but such a choice. (The last of each block would be the highest: a part with higher
    scores than the other one.)
    """
    count = int(len(items) * fraction + _ROUNDING)
    fewer = min(count, len(items) - count)
    bounds = [len(items) * block // fewer for block in range(fewer + 1)] if fewer else []
    picked = {
        min(range(start, end), key=lambda at: _hash(name(items[at]))) for start, end in itertools.pairwise(bounds)
    }
    return [item for at, item in enumerate(items) if (at in picked) == (count <= len(items) - count)]


def _hash(name: str) -> str:
    return hashlib.sha256(f"select {name}".encode("utf-8", "surrogatepass")).hexdigest()
