"""Parse text tables: fields, quotes and physical lines.

Python's `csv` is not used for reading: its limit on field length is global to the process, and it treats a quote at
the start of any field as opening, so that a text that begins with a quote is merged with a later one that ends with
a quote, and a row is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from peftbench.errors import DataError
from peftbench.text import clean

Separator = Literal["comma", "tab", "semicolon"]
Quoting = Literal["auto", "minimal", "none"]

CHARACTERS: dict[str, str] = {"comma": ",", "tab": "\t", "semicolon": ";"}
_TO_CLOSING_QUOTE = re.compile(r'[^"]*+(?:""[^"]*+)*+"')
_LITERAL = 'if quotes are literal characters in this file, set quoting = "none" in the source'


class Record(NamedTuple):
    """One row of a table: its first physical line, its fields, and how many of them span several lines."""

    number: int
    fields: list[str]
    spanning: int


def records(lines: Iterable[str], separator: str, quoting: str, where: str) -> Iterator[Record]:
    """Split physical lines into records, skipping blank lines.

    Args:
        lines: with their line ends.
        separator: the character between fields.
        quoting: "none": every physical line is a record and quotes are literal. "minimal": a field that begins with
            a quote extends to the closing one, across line ends too; a quote within it is doubled.
        where: the file, for messages.

    Raises:
        DataError: text after a closing quote, or an unclosed quote.
    """
    if quoting == "none":
        for number, line in enumerate(lines, start=1):
            if body := _body(line):
                yield Record(number, body.split(separator), 0)
        return
    yield from _quoted_records(lines, separator, where)


def _body(line: str) -> str:
    """Return a line without its line end."""
    if line.endswith("\n"):
        return line[:-2] if line.endswith("\r\n") else line[:-1]
    return line[:-1] if line.endswith("\r") else line


def _quoted_records(lines: Iterable[str], separator: str, where: str) -> Iterator[Record]:
    begun = 1
    fields: list[str] = []
    spanning = 0
    open_parts: list[str] | None = None  # of a quoted field that is not closed yet
    for number, line in enumerate(lines, start=1):
        body = _body(line)
        position = 0
        if open_parts is None:
            if '"' not in body:
                if body:
                    yield Record(number, body.split(separator), 0)
                continue
            begun, fields, spanning = number, [], 0
        while True:
            if open_parts is None and body.startswith('"', position):
                open_parts, position = [], position + 1
            if open_parts is None:
                end = body.find(separator, position)
                fields.append(body[position:] if end < 0 else body[position:end])
            else:
                closing = _TO_CLOSING_QUOTE.match(body, position)
                if closing is None:
                    open_parts.append(line[position:])
                    break
                spanning += bool(open_parts)
                fields.append("".join((*open_parts, body[position : closing.end() - 1])).replace('""', '"'))
                open_parts = None
                end = _end_of_quoted(body, closing.end(), separator, f"{where}, line {number}")
            if end < 0:
                yield Record(begun, fields, spanning)
                break
            position = end + 1
    if open_parts is not None:
        raise DataError(f"{where}, line {begun}: a quote opened in this line is not closed", _LITERAL)


def _end_of_quoted(body: str, end: int, separator: str, location: str) -> int:
    """Return the position of the separator after a closing quote; -1 at the end of the line."""
    if end == len(body):
        return -1
    if not body.startswith(separator, end):
        raise DataError(
            f"{location}: '{clean(body[end:], 20)}' after a closing quote, where the field should end",
            f"double the quotes within a quoted field; {_LITERAL}",
        )
    return end


@dataclass(slots=True)
class _Quotes:
    """Statistics of quote use in a tab-separated file, with each physical line parsed on its own."""

    doubled: int | None = None  # first line with a well-formed quoted field that contains doubled quotes
    broken: int | None = None  # first line with a field that begins with a quote and is not a quoted field
    bare: bool = False  # a quote inside an unquoted field: a quoting writer would have quoted it
    needed: bool = False  # quotes that a writer must use: around a carriage return or an empty field
    enclosed: set[int] = field(default_factory=set)  # columns with a quoted value
    unquoted: set[int] = field(default_factory=set)  # columns with an unquoted value

    def see(self, number: int, fields: list[str]) -> None:
        """Process the fields of one line."""
        for column, text in enumerate(fields):
            if not text.startswith('"'):
                self.bare = self.bare or '"' in text
                if text:
                    self.unquoted.add(column)
                continue
            self.enclosed.add(column)
            if len(text) < 2 or not text.endswith('"') or '"' in text[1:-1].replace('""', ""):
                self.unquoted.add(column)
                self.broken = self.broken or number
            elif text == '""' or "\r" in text:
                self.needed = True
            elif '""' in text[1:-1]:
                self.doubled = self.doubled or number


def detect_quoting(lines: Iterable[str], separator: str, where: str) -> Literal["minimal", "none"]:
    """Detect whether quotes enclose fields or are literal characters.

    In practice only tab-separated text is written without quoting, so everything else is "minimal". A tab file is

    - "minimal" if the header's names are quoted;
    - "minimal" if a line has another number of fields than the header: a quoted field contains a tab or a line end;
    - "minimal" if a quoted field contains doubled quotes, or all values of a column are quoted;
    - "none" otherwise: a text that merely begins, or begins and ends, with a quote keeps it.

    Raises:
        DataError: some fields contain doubled quotes and others begin with a literal quote: ambiguous.
    """
    if separator != "\t":
        return "minimal"
    quotes = _Quotes()
    width = 0
    for number, line in enumerate(lines, start=1):
        body = _body(line)
        if not body or not (width or body.strip() or separator in body):
            continue
        if width:
            if body.count(separator) + 1 != width:
                return "minimal"
            if '"' in body or len(quotes.unquoted) < width:
                quotes.see(number, body.split(separator))
        else:
            header = body.split(separator)
            width = len(header)
            if any(header) and all(len(name) > 1 and name[0] == name[-1] == '"' for name in header if name):
                return "minimal"
    if quotes.broken is not None and quotes.doubled is not None:
        raise DataError(
            f"{where}: ambiguous quotes: line {quotes.doubled} has a quoted field that contains doubled quotes, "
            f"line {quotes.broken} a field that begins with a quote and is not a quoted field",
            f'set quoting = "minimal" in the source to treat the latter as an error; {_LITERAL}',
        )
    if quotes.broken is not None:
        return "none"
    if quotes.doubled is not None:
        return "minimal"
    return "minimal" if not quotes.bare and (quotes.needed or quotes.enclosed - quotes.unquoted) else "none"
