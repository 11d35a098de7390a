"""`peftbench sweep`: queue all runs of a sweep in a fair order, or only plan them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.output import Data, Database, Json, command, database, print_json, show

if TYPE_CHECKING:
    from pathlib import Path

    from peftbench.analysis.forecast import RunForecast
    from peftbench.spec.sweep import SweepPlan


def sweep(
    name: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep, or a .toml file.")],
    workload: Annotated[
        str | None,
        typer.Option("--workload", "-w", metavar="NAME", help="A workload. Default: the sweep's, else quickstart."),
    ] = None,
    data: Data = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value in all runs, such as train.epochs=2."),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", metavar="N", help="Number of seeds from 0, or a list: 0,4,7. Default: the sweep's."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Queue nothing: print the runs, their order and predicted time.")
    ] = False,
    slots: Annotated[
        int | None,
        typer.Option("--slots", metavar="N", min=1, max=64, help="Set the maximum of concurrent runs on this machine."),
    ] = None,
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Queue all runs of a sweep: every preset with every grid value and every seed.

    Example: peftbench sweep study --seeds 3 --dry-run
    """
    from peftbench.spec.sweep import parse_seeds, plan, read_sweep

    planned = plan(
        read_sweep(name),
        workload=workload,
        data=data or (),
        overrides=overrides or (),
        seeds=None if seeds is None else parse_seeds(seeds),
    )
    where = database(db)
    if dry_run:
        _print_plan(planned, _predict(planned, where), as_json)
    else:
        _queue(planned, where, slots, as_json, db)


def _predict(planned: SweepPlan, where: Path) -> list[RunForecast]:
    import platform

    from peftbench.analysis.forecast import forecast
    from peftbench.report.sweep import wanted
    from peftbench.store.reader import Reader

    with Reader(where) as reader:
        runs = [wanted(run.resolved.spec) for run in planned.runs]
        return forecast(runs, reader.judging([run.key for run in runs], platform.node()), platform.node())


def _print_plan(planned: SweepPlan, predicted: list[RunForecast], as_json: bool) -> None:
    from peftbench.report.sweep import plan_json, plan_page

    if as_json:
        print_json(plan_json(planned, predicted))
    else:
        show(*plan_page(planned, predicted))


def _queue(planned: SweepPlan, where: Path, slots: int | None, as_json: bool, db: Path | None) -> None:
    from peftbench.analysis.forecast import total
    from peftbench.jobs.queue import enqueue, fresh_label
    from peftbench.report.sweep import notes, total_in_words

    label = fresh_label(planned.sweep.name)
    time = total_in_words(total(_predict(planned, where)))  # before these runs are in the database
    ids = enqueue(where, [run.resolved for run in planned.runs], sweep=label, slots=slots)
    if as_json:
        print_json({"sweep": label, "ids": ids})
        return
    queued = f"{len(ids)} run{'s' * (len(ids) != 1)} queued"
    show(
        f"sweep {label}: {queued}, the first {ids[0]}, the last {ids[-1]}",
        *notes(planned),
        f"time: {time}",
        f"next: {command('queue', db=db)}",
    )
