"""Sentences of a CoNLL file: a word and its tag on each line, first and last column, and an empty line between."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from peftbench.errors import DataError
from peftbench.text import clean

_COMMENT = re.compile(r"# ?\S+ ?[=:] |#(?:begin|end) document")
_DOCUMENT = "-DOCSTART-"


def sentences(lines: Iterable[str], where: str) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield the line, words and tags of each sentence.

    Columns are separated by a tab where the line has one, else by white space. Comments as in CoNLL-U (`# id = 3`,
    `#begin document`) and `-DOCSTART-` lines are left out.

    Raises:
        DataError: a line has one column, or more than white space within a word.
    """
    first, words, tags = 0, list[str](), list[str]()
    for number, line in enumerate(lines, start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith(_DOCUMENT):
            if words:
                yield first, words, tags
                words, tags = [], []
            continue
        if not words and _COMMENT.match(stripped):
            continue
        columns = [column.strip() for column in stripped.split("\t")] if "\t" in stripped else stripped.split()
        if len(columns) < 2:
            raise DataError(
                f"{where}, line {number}: expected a word and its tag, found '{clean(stripped, 60)}'",
                "each line has a word first and its tag last, with a tab or spaces between; sentences are separated by "
                "an empty line",
            )
        first = first if words else number
        words.append(columns[0])
        tags.append(columns[-1])
    if words:
        yield first, words, tags
