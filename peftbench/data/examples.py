"""The common representation of examples from every source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from peftbench.store.rows import Label


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled example: one text or two, and its label.

    A label is a class index, 0/1 or a number; of kind 'multilabel' the indices of its labels, sorted; of kind 'tokens'
    the index of each word's tag, the text being the words joined by spaces. NaN: it has none.

    `weight`: of its training loss. `cluster` is the value of the task's `group` column (a document, an author); None
    without such a column.
    """

    id: str
    texts: tuple[str, ...]
    label: Label
    cluster: str | None = None
    weight: float = 1.0


def fingerprint(examples: Iterable[Example]) -> str:
    """Return the SHA-256 (hex) of the examples' ids, texts and labels, in order.

    Sources with the same examples have the same fingerprint, wherever their files are.
    """
    digest = hashlib.sha256()
    for example in examples:
        label = example.label if isinstance(example.label, tuple) else float(example.label)
        weight = () if example.weight == 1 else (repr(example.weight),)
        for part in (example.id, *example.texts, repr(label), *weight):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
        digest.update(b"\n")
    return digest.hexdigest()
