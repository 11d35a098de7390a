"""The common representation of examples from every source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled example: one text or two, and its label (a class index, 0/1, or a score).

    `cluster` is the value of the task's `group` column (a document, an author); None without such a column.
    """

    id: str
    texts: tuple[str, ...]
    label: float
    cluster: str | None = None


def fingerprint(examples: Iterable[Example]) -> str:
    """Return the SHA-256 (hex) of the examples' ids, texts and labels, in order.

    Sources with the same examples have the same fingerprint, wherever their files are.
    """
    digest = hashlib.sha256()
    for example in examples:
        for part in (example.id, *example.texts, repr(float(example.label))):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
        digest.update(b"\n")
    return digest.hexdigest()
