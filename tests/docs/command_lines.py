"""Finds the command lines that a page shows, and holds them against the program's parser; nothing is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import typer

from peftbench.cli import app

_SHOWN = re.compile(r"(?:^|^\$ |: )(peftbench(?: [^ ].*)?)$")
_INLINE = re.compile(r"`(peftbench(?:\s[^`]*)?)`")
_ENDS = ("|", ">", ">>", "<", "&&", "||", ";", "&")  # of a command, where a shell goes on with something else


@dataclass(frozen=True, slots=True)
class Shown:
    """A command line, and the number of the line of its page that it begins on."""

    line: int
    text: str


def shown(page: str) -> Iterator[Shown]:
    """Yield every command line of a page: of its code blocks, and of code within a sentence."""
    prose: list[str] = []
    fenced = False
    lines = page.split("\n")
    for number, line in enumerate(lines, start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
            prose.append("")
            continue
        is_code = fenced or line.startswith("    ")
        prose.append("" if is_code else line)
        if is_code and (found := _SHOWN.search(line.strip())):
            text = found[1]
            following = number
            while text.endswith("\\") and following < len(lines):
                text = f"{text[:-1].rstrip()} {lines[following].strip()}"
                following += 1
            yield Shown(number, text)
    sentences = "\n".join(prose)
    for found in _INLINE.finditer(sentences):
        yield Shown(sentences.count("\n", 0, found.start()) + 1, " ".join(found[1].split()))


def words_of(text: str) -> list[str]:
    """Return the words of a command line, without a comment, what it is piped to, and the brackets of a usage line."""
    words = shlex.split(re.sub(r"\[([^\[\]=]*)\]", r" \1 ", text), comments=True)
    end = next((place for place, word in enumerate(words) if word in _ENDS or word.startswith("2>")), len(words))
    return [word for word in words[1:end] if word not in ("...", "OPTIONS", "COMMAND", "ARGS", "|")]


@cache
def root() -> Any:
    """Return the program's command line."""
    return typer.main.get_command(app)


def mistake(text: str) -> str | None:
    """Return what is wrong with a command line, None where the program would take it apart."""
    try:
        words = words_of(text)
    except ValueError as error:
        return str(error)
    command = root()
    path = ["peftbench"]
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return f"no command '{' '.join((*path, words[0]))}'"
        path.append(words.pop(0))
        command = command.commands[path[-1]]
    context = command.context_class(command, info_name=" ".join(path))
    try:
        command.make_parser(context).parse_args(words)
    except Exception as error:
        if not hasattr(error, "exit_code"):
            raise
        return f"{' '.join(path)}: {error}"
    return None
