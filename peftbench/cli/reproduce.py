"""`peftbench reproduce`: the study's runs, as far as they are not there yet, and its report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.output import Data, Database, calm_numpy, command, database, print_page, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peftbench.jobs.picking_up import Need, Standing
    from peftbench.spec import RunSpec
    from peftbench.spec.sweep import PlannedRun
    from peftbench.store.reader import Reader
    from peftbench.store.rows import Run

SWEEP = "study"


def reproduce(
    workload: Annotated[
        str, typer.Option("--workload", "-w", metavar="NAME", help="A workload, or a .toml file.")
    ] = "quickstart",
    data: Data = None,
    seeds: Annotated[str, typer.Option("--seeds", metavar="N", help="So many seeds from 0 on, or these: 0,4,7.")] = "2",
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="The report; else study-WORKLOAD.html here.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    db: Database = None,
) -> None:
    """Run the study's sweep, as far as it is not done, and write its report, claim by claim.

    Runs that have finished count, interrupted ones go on: it can be stopped (Ctrl-C) and begun again at any time.

    Example: peftbench reproduce --workload paper --data DIR --seeds 3
    """
    from peftbench.errors import EXIT_FAILED, MissingError, UsageError
    from peftbench.jobs.picking_up import pick_up, standings
    from peftbench.jobs.queue import fresh_label
    from peftbench.spec.sweep import parse_seeds, plan, read_sweep
    from peftbench.store.reader import Reader

    where = database(db)
    planned = plan(read_sweep(SWEEP), workload=workload, data=data or (), seeds=parse_seeds(seeds))
    path = html if html is not None else Path(f"study-{planned.workload}.html")
    if not path.parent.is_dir():  # before hours of work
        raise MissingError(f"--html {path}: there is no folder {path.parent}", "make it, or choose another")
    folders = [word for folder in data or () for word in ("--data", folder)]
    again = command("reproduce", "--workload", workload, *folders, "--seeds", seeds, db=db)
    runs, left_out = _possible(planned.runs)
    with Reader(where) as reader:
        found = standings([run.resolved for run in runs], reader.runs())
        told = [*_told(found, planned.workload), *left_out, *_forecast(reader, found)]
    show(*told)
    if not yes and any(one.need != "nothing" for one in found):
        if not sys.stdin.isatty():
            raise UsageError("reproduce asks before it starts runs, and there is nobody to answer", "say --yes")
        if not typer.confirm("Start?"):
            raise typer.Exit(1)
    ids = pick_up(where, found, fresh_label(SWEEP))
    ended = _follow(where, found, ids, again)
    _report(where, planned.workload, path)
    if failed := [run for run in ended if run.state != "finished"]:
        names = ", ".join(f"{run.name} ({run.state}: {run.reason})" for run in failed)
        show("", f"not finished, and not in the report: {names}", f"again: {again}")
        raise typer.Exit(EXIT_FAILED)


def _possible(planned: Sequence[PlannedRun]) -> tuple[list[PlannedRun], list[str]]:
    """Return the runs that can be made here, and a line for each row that cannot, with what it lacks."""
    from peftbench.errors import MissingError
    from peftbench.text import clean

    lacking: dict[str, str] = {}
    for run in planned:
        settings = run.resolved.spec.augment
        if settings is not None and run.label not in lacking:
            from peftbench.data.augment.rows import Augmenter

            try:
                Augmenter(settings)
            except MissingError as error:
                lacking[run.label] = clean(error.message)
    lines = [f"left out: {clean(label)}: {why}" for label, why in lacking.items()]
    return [run for run in planned if run.label not in lacking], lines


def _told(found: Sequence[Standing], workload: str) -> list[str]:
    from collections import Counter

    counted = Counter(one.need for one in found)
    words: dict[Need, str] = {
        "nothing": "finished already",
        "patience": "going on",
        "resume": "to be resumed",
        "run": "to be run",
    }
    parts = ", ".join(f"{counted[need]} {said}" for need, said in words.items() if counted[need])
    return [f"the study on workload {workload}: {len(found)} runs: {parts}"]


def _forecast(reader: Reader, found: Sequence[Standing]) -> list[str]:
    """Say how long what is to be done will take, and how much energy, as far as stored runs tell."""
    from peftbench.analysis.forecast import energy_wh
    from peftbench.analysis.resources import cost
    from peftbench.report import figures
    from peftbench.report.sweep import wanted

    specs = [one.resolved.spec for one in found if one.need != "nothing"]
    if not specs:
        return []
    finished = [run for run in reader.runs() if run.state == "finished" and run.workload == specs[0].workload]
    energy = energy_wh(list(map(wanted, specs)), ((run, cost(reader.record(run)).run_wh) for run in finished))
    told = "not known: no run of this workload has measured any"
    if energy is not None:
        some = f" for {energy[1]} of {len(specs)} runs" if energy[1] < len(specs) else ""
        told = f"about {figures.watt_hours(energy[0])} Wh{some}"
    return [f"time: {_time(reader, specs)}", f"GPU energy: {told}"]


def _time(reader: Reader, specs: Sequence[RunSpec]) -> str:
    import platform

    from peftbench.analysis.forecast import forecast, total
    from peftbench.report.sweep import total_in_words, wanted

    return total_in_words(total(forecast(list(map(wanted, specs)), reader.runs(), platform.node())))


def _follow(where: Path, found: Sequence[Standing], ids: Sequence[str], again: str) -> list[Run]:
    """Say of each run how it ended, as they end, and how long the rest will take; Ctrl-C leaves them going."""
    from peftbench.errors import EXIT_INTERRUPTED
    from peftbench.jobs.follow import follow
    from peftbench.report import figures
    from peftbench.store.reader import Reader
    from peftbench.text import clean

    ended: list[Run] = []
    try:
        with Reader(where) as reader:
            for place, run_id in enumerate(ids, start=1):
                for update in follow(where, run_id):
                    run = update.run
                ended.append(run)
                said = f"dev avg {figures.score(run.dev_avg)}" if run.state == "finished" else run.reason or ""
                rest = [one.resolved.spec for one in found[place:] if one.need != "nothing"]
                left = f"; the rest: {_time(reader, rest)}" if rest else ""
                show(f"{place:>3}/{len(ids)} {clean(run.name)} {run.state}: {clean(said)}{left}")
    except KeyboardInterrupt:
        print(f"the runs go on; {again} picks them up", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    return ended


def _report(where: Path, workload: str, path: Path) -> None:
    """Write the report and say what became of each claim."""
    from peftbench.cli.report import write_study
    from peftbench.report import study as report

    calm_numpy()
    found = write_study(where, workload, path)
    show("")
    print_page(report.claims_page(found), None, plain=False)
