"""`peftbench doctor`: whether this machine can be trusted to measure."""

from __future__ import annotations

from typing import Annotated

import typer

from peftbench.cli.output import Database, Json, database, print_json, show


def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Leave out what watches the cards for seconds.")] = False,
    meter_gpu: Annotated[
        str | None,
        typer.Option("--meter-gpu", metavar="CARD", help="Look at this card alone: an index or UUID."),
    ] = None,
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Check the machine: cards, driver, permissions, sensors, disk, database, hub. Exit code 1 if a check fails."""
    from dataclasses import asdict

    from peftbench.doctor import Options, counts, examine
    from peftbench.errors import EXIT_FAILED
    from peftbench.report import doctor as page

    found = []
    for finding in examine(Options(database(db), gpu=meter_gpu, quick=quick)):
        found.append(finding)
        if not as_json:
            show(page.line(finding))
    if as_json:
        print_json({"counts": counts(found), "checks": [asdict(finding) for finding in found]})
    else:
        show(page.summary(found))
    if counts(found)["fail"]:
        raise typer.Exit(EXIT_FAILED)
