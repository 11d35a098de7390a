"""`peftbench rates`: published learning rates."""

from __future__ import annotations

from typing import Annotated

import typer

from peftbench.cli.output import Json, print_json, show


def rates(
    method: Annotated[str | None, typer.Argument(metavar="[METHOD]", help="Of this method only.")] = None,
    as_json: Json = False,
) -> None:
    """List the learning rates that were published, with their source: what train.lr=auto takes.

    Example: peftbench rates lora
    """
    import dataclasses

    from peftbench.errors import UsageError, did_you_mean
    from peftbench.methods.rates import RATES
    from peftbench.report.plain_table import plain_table
    from peftbench.text import clean

    known = dict.fromkeys(name for row in RATES for name in row.methods)
    if method is not None and method not in known:
        raise UsageError(
            f"no learning rate is published for '{clean(method)}'{did_you_mean(method, known)}",
            f"methods: {', '.join(known)}",
        )
    rows = [row for row in RATES if method is None or method in row.methods]
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
        return
    heads = ("methods", "families", "sizes", "auto", "published", "source")
    cells = [
        (
            ", ".join(row.methods),
            ", ".join(row.families),
            ", ".join(row.sizes),
            f"{row.lr:g}",
            row.published,
            row.source,
        )
        for row in rows
    ]
    show(plain_table(heads, cells, left=len(heads)))
