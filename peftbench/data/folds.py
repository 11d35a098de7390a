"""Divide the examples of train and dev in folds: one is tested, one chooses the epoch, the others train."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from peftbench.data.examples import Example, fingerprint
from peftbench.data.labels import Names
from peftbench.data.load import Split, SplitName
from peftbench.data.rows import RowCount
from peftbench.data.select_part import FEWEST
from peftbench.data.words import OUTSIDE
from peftbench.errors import DataError
from peftbench.tasks import TaskSpec
from peftbench.text import clean

_BINS = 5  # of sorted scores, balanced over the folds where whole groups are divided


def fold_parts(task: TaskSpec, train: Split, dev: Split, folds: int, fold: int) -> tuple[Split, Split, Split]:
    """Return the parts that train, choose the epoch and are tested, of all examples of two splits.

    Ids begin with the split that they are from (`train:17`): an id may be in both. The fold after the one that is
    tested chooses the epoch (after the last one, the first).

    Args:
        task: of the examples.
        train: the source's training split.
        dev: the source's dev split.
        folds: their number k.
        fold: which one is tested, 0 to k - 1.

    Raises:
        DataError: there are too few examples, or groups, for so many folds.
    """
    pool = [replace(example, id=f"{split.name}:{example.id}") for split in (train, dev) for example in split.examples]
    of_rows = folds_of(task, pool, folds, train.label_names)
    chosen = (of_rows == (fold + 1) % folds, of_rows == fold)
    trains, selects, tests = (
        tuple(pool[row] for row in np.flatnonzero(rows)) for rows in (~(chosen[0] | chosen[1]), *chosen)
    )
    return _part(train, "train", trains), _part(train, "dev", selects), _part(train, "test", tests)


def _part(source: Split, name: SplitName, examples: tuple[Example, ...]) -> Split:
    count = RowCount(len(examples))
    return replace(source, name=name, examples=examples, count=count, fingerprint=fingerprint(examples), reading={})


def folds_of(task: TaskSpec, pool: Sequence[Example], folds: int, names: Names | None = None) -> np.ndarray:
    """Return the fold of each example, `[examples]`, 0 to k - 1.

    The division depends on the examples only (ids, labels, groups; not on their order): every run on the same data has
    the same one, whatever its seed. It is stratified: a class, or combination of labels, has at most one example more
    in one fold than in another; of k consecutive scores, or numbers of tagged words, each fold has one. Where rows
    belong to groups (`task.group`), whole groups are divided, so that classes, labels, or fifths of the sorted scores
    are nearly balanced.

    Args:
        task: of the examples.
        pool: all of them.
        folds: their number k.
        names: of the labels; of kind 'tokens' the tags.

    Raises:
        DataError: there are fewer than two examples, or fewer than one group, a fold.
    """
    if len(pool) < FEWEST * folds:
        raise DataError(
            f"{task.name}: split.folds={folds} of {len(pool)} examples (train and dev together): each fold needs "
            f"{FEWEST} at least",
            f"set split.folds to at most {len(pool) // FEWEST}, or add examples",
        )
    keys = [_sort_key(task, example, names) for example in pool]
    order = sorted(range(len(pool)), key=lambda row: (keys[row], _hash(pool[row].id), pool[row].id))
    if task.group:
        return _whole_groups(task, pool, order, folds)
    of_rows = np.empty(len(pool), dtype=np.int64)
    for start in range(0, len(order), folds):
        block = order[start : start + folds]
        if _is_sorted(task):  # else the first fold would have the lowest score of each block
            block.sort(key=lambda row: _hash(f"score {pool[row].id}"))
        of_rows[block] = np.arange(len(block))
    return of_rows


def _sort_key(task: TaskSpec, example: Example, names: Names | None) -> tuple[float, ...]:
    """Return what examples are sorted by: label, combination of labels, or number of words with a tag."""
    if not isinstance(example.label, tuple):
        return (float(example.label),)
    if task.kind == "tokens":
        outside = names.index(OUTSIDE) if names and OUTSIDE in names else -1
        return (float(sum(tag != outside for tag in example.label)),)
    return tuple(map(float, example.label))


def _is_sorted(task: TaskSpec) -> bool:
    """Whether the order of the keys is of more and less, not of classes."""
    return task.is_score or task.kind == "tokens"


def _whole_groups(task: TaskSpec, pool: Sequence[Example], order: Sequence[int], folds: int) -> np.ndarray:
    """Return the fold of each example where groups stay whole: the largest groups first, each where it is missed most.

    With n_fc the examples of stratum c in fold f and N_c all of them, a group goes to the fold in which the sum over
    all folds and strata of (n_fc / N_c)^2 grows least; all examples together count as a stratum, too. (As
    StratifiedGroupKFold of scikit-learn, which compares variances.)
    """
    strata: list[tuple[int, ...]]
    if _is_sorted(task):
        bins = {row: at * _BINS // len(pool) for at, row in enumerate(order)}
        strata = [(bins[row],) for row in range(len(pool))]
    else:
        labels = [example.label for example in pool]
        strata = [label if isinstance(label, tuple) else (int(label),) for label in labels]
    names = sorted({str(example.cluster) for example in pool})
    if len(names) < folds:
        raise DataError(
            f"{task.name}: split.folds={folds} of {len(names)} groups in '{clean(task.group, 40)}': groups stay whole, "
            "and each fold needs one",
            f"set split.folds to at most {len(names)}, or name another column of groups (tasks.{task.name}.group)",
        )
    index = {name: at for at, name in enumerate(names)}
    of_groups = np.array([index[str(example.cluster)] for example in pool])
    counts = np.zeros((len(names), max((stratum for own in strata for stratum in own), default=0) + 2))
    for group, own in zip(of_groups, strata, strict=True):
        counts[group, list(own)] += 1
        counts[group, -1] += 1
    weights = 1 / np.maximum(counts.sum(axis=0), 1) ** 2
    filled, chosen = np.zeros((folds, counts.shape[1])), np.empty(len(names), dtype=np.int64)
    for group in sorted(range(len(names)), key=lambda at: (-counts[at, -1], _hash(names[at]))):
        growth = filled @ (weights * counts[group])
        fold = min(range(folds), key=lambda at: (round(float(growth[at]), 12), filled[at, -1], at))
        filled[fold] += counts[group]
        chosen[group] = fold
    return chosen[of_groups]


def _hash(name: str) -> str:
    return hashlib.sha256(f"fold {name}".encode("utf-8", "surrogatepass")).hexdigest()
