"""`peftbench compare`: runs side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from peftbench.cli.output import Database, Json, database, print_json, show

MOST = 20


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="2 to 20 runs; the first is the baseline.")],
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Compare runs: what differs, scores, cost, and whether each difference is more than chance.

    Example: peftbench compare lora-r12-1 dora-r12-1
    """
    from peftbench.analysis.comparison import compare as compare_records
    from peftbench.errors import UsageError
    from peftbench.report import jsonable, tables
    from peftbench.store.reader import Reader

    with Reader(database(db)) as reader:
        found = list({run.id: run for run in (reader.find(reference) for reference in runs)}.values())
        if not 2 <= len(found) <= MOST:
            raise UsageError(f"compare takes 2 to {MOST} different runs, not {len(found)}")
        result = compare_records([reader.record(run, predictions=True) for run in found])
    if as_json:
        print_json(jsonable.comparison(result))
    else:
        show(tables.comparison(result))
