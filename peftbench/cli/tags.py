"""`peftbench tag` and `note`: the user's own words about runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.output import Database, Json, database, print_json

if TYPE_CHECKING:
    from peftbench.store.reader import Reader
    from peftbench.store.rows import Run

OneWord = Annotated[
    str,
    typer.Argument(metavar="RUN", help="An id, a name, a unique prefix; or a sweep, preset, group hash (all runs)."),
]


def tag(
    run: OneWord,
    tags: Annotated[
        list[str] | None, typer.Argument(metavar="[TAG...]", help="Tags to add. Default: show them.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", "-r", help="Remove these tags instead.")] = False,
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Add tags to a run or a group, to filter by; or show them.

    Example: peftbench tag lora-r12-1 baseline
    """
    from peftbench.errors import UsageError
    from peftbench.jobs import tagging
    from peftbench.store.reader import Reader
    from peftbench.text import clean

    where = database(db)
    if remove and not tags:
        raise UsageError("--remove needs the tags to remove", "such as: peftbench tag RUN baseline --remove")
    with Reader(where) as reader:
        runs = _runs(reader, run)
    now = tagging.tag(where, runs, tags, remove=remove) if tags else {each.id: each.tags for each in runs}
    if as_json:
        print_json({each.id: list(now[each.id]) for each in runs})
        return
    for each in runs:
        print(f"{clean(each.name)}: {', '.join(map(clean, now[each.id])) or 'no tags'}")


def note(
    run: OneWord,
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help="The note; '' removes it. Default: show it.")
    ] = None,
    db: Database = None,
) -> None:
    """Write a note about a run or a group; or show it.

    Example: peftbench note lora-r12-1 "warm-up was too short"
    """
    from peftbench.jobs import tagging
    from peftbench.store.reader import Reader
    from peftbench.text import clean

    where = database(db)
    with Reader(where) as reader:
        runs = _runs(reader, run)
    if text is not None:
        tagging.note(where, runs, text)
    for each in runs:
        own = each.note if text is None else clean(text)
        print(f"{clean(each.name)}: {clean(own) if own else 'no note'}")


def _runs(reader: Reader, word: str) -> list[Run]:
    from peftbench.cli.naming import named_runs

    if word == "latest":
        return [reader.find(word)]
    return named_runs(reader, [word], lambda _: True, "tagged")
