"""Rows of token tasks: words and tags from lists, from texts, or from spans of characters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from peftbench.errors import DataError
from peftbench.text import clean

_WORDS = re.compile(r"\w+|[^\w\s]")  # words and, one by one, punctuation marks
_FORMS = "a list of tags, tags with spaces between them, or a list of spans {start, end, label}"


def read_tokens(words: object, tags: object, location: str, columns: tuple[str, str]) -> tuple[str, list[str] | None]:
    """Return a row's words, joined by spaces, and its tags; None where it has none. A whole number stays one, as text.

    Words are a list, or a text: divided at white space where its tags are listed, and into words and punctuation marks
    where they are given as spans of its characters, or there are none.

    Args:
        words: the cell of words; a missing one gives an empty text.
        tags: the cell of tags.
        location: file and line, for messages.
        columns: the names of the two columns.

    Raises:
        DataError: a cell has another form, there are not as many tags as words, or a span does not fit the words.
    """
    text = words if isinstance(words, str) else None
    if isinstance(tags, str):
        tags = tags.split()
    if tags is not None and not _is_spans(tags) and not _is_tags(tags):
        raise DataError(f"{location}: '{clean(columns[1], 40)}' must be {_FORMS}")
    if _is_spans(tags) and text is not None:
        return _of_spans(text, tags, location)
    if _is_spans(tags) and words:
        raise DataError(f"{location}: spans of characters need '{clean(columns[0], 40)}' to be a text, not a list")
    listed = _listed(words, divided=tags is None, location=location, column=columns[0])
    if not listed or not _is_tags(tags):
        return " ".join(listed), None
    if len(listed) != len(tags):
        raise DataError(f"{location}: {len(listed)} words and {len(tags)} tags")
    return " ".join(listed), [str(tag).strip() for tag in tags]


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_tags(tags: object) -> TypeGuard[Sequence[str | int]]:
    return _is_list(tags) and all(isinstance(tag, str | int) and not isinstance(tag, bool) for tag in tags)


def _is_spans(tags: object) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    return _is_list(tags) and bool(tags) and all(isinstance(each, Mapping) for each in tags)


def _listed(words: object, *, divided: bool, location: str, column: str) -> list[str]:
    if words is None:
        return []
    if isinstance(words, str):
        return _WORDS.findall(words) if divided else words.split()
    if not _is_list(words):
        raise DataError(f"{location}: '{clean(column, 40)}' must be a list of words, or a text")
    for word in words:
        if not isinstance(word, str) or not word or word.split() != [word]:
            raise DataError(
                f"{location}: '{clean(column, 40)}' has the word {clean(ascii(word), 60)}, which is not a text without "
                "white space",
                "divide or join such words, and their tags with them",
            )
    return list(words)


def _of_spans(text: str, spans: Sequence[Mapping[str, Any]], location: str) -> tuple[str, list[str]]:
    """Return the words of a text and their BIO tags, from spans of its characters `[start, end)`."""
    words = list(_WORDS.finditer(text))
    tags = ["O"] * len(words)
    for span in spans:
        start, end, label = (span.get(key) for key in ("start", "end", "label"))
        shown = f"span {clean(start, 20)} to {clean(end, 20)}, '{clean(label, 40)}'"
        if not isinstance(start, int) or not isinstance(end, int) or not isinstance(label, str) or not label.strip():
            raise DataError(f"{location}: a span needs whole numbers `start` and `end` and a text `label`: {shown}")
        inside = [number for number, word in enumerate(words) if word.start() < end and word.end() > start]
        if not inside:
            raise DataError(f"{location}: {shown}: there is no word in it")
        if words[inside[0]].start() < start or words[inside[-1]].end() > end:
            cut = next(n for n in (inside[0], inside[-1]) if words[n].start() < start or words[n].end() > end)
            raise DataError(
                f"{location}: {shown}: it begins or ends within '{clean(words[cut].group(), 40)}'",
                "spans must consist of whole words; or give the words and their tags as lists",
            )
        if any(tags[number] != "O" for number in inside):
            raise DataError(f"{location}: {shown}: it overlaps another span")
        for number in inside:
            tags[number] = f"{'B' if number == inside[0] else 'I'}-{label.strip()}"
    return " ".join(word.group() for word in words), tags
