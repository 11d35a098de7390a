"""`peftbench reproduce`: run what is missing of the study, and write its report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.output import Data, Database, calm_numpy, command, database, print_page, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peftbench.jobs.reconcile import Need, RunStatus
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
    seeds: Annotated[str, typer.Option("--seeds", metavar="N", help="Number of seeds from 0, or a list: 0,4,7.")] = "2",
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="The report file. Default: study-WORKLOAD.html.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    db: Database = None,
) -> None:
    """Run the unfinished runs of the study's sweep, and write the study's report, claim by claim.

    Finished runs are reused and interrupted ones resumed: it can be stopped (Ctrl-C) and restarted at any time.

    Example: peftbench reproduce --workload paper --data DIR --seeds 3
    """
    from peftbench.errors import EXIT_FAILED, MissingError, UsageError
    from peftbench.jobs.queue import fresh_label
    from peftbench.jobs.reconcile import reconcile, run_statuses
    from peftbench.spec.sweep import parse_seeds, plan, read_sweep
    from peftbench.store.reader import Reader

    where = database(db)
    planned = plan(read_sweep(SWEEP), workload=workload, data=data or (), seeds=parse_seeds(seeds))
    path = html if html is not None else Path(f"study-{planned.workload}.html")
    if not path.parent.is_dir():  # before hours of work
        raise MissingError(f"--html {path}: no such folder: {path.parent}", "create it, or choose another")
    folders = [word for folder in data or () for word in ("--data", folder)]
    again = command("reproduce", "--workload", workload, *folders, "--seeds", seeds, db=db)
    runs, left_out = _possible(planned.runs)
    with Reader(where) as reader:
        stored = reader.of_specs([run.resolved.spec.hash() for run in runs])
        statuses = run_statuses([run.resolved for run in runs], stored)
        lines = [*_status_lines(statuses, planned.workload), *left_out, *_forecast(reader, statuses)]
    show(*lines)
    if not yes and any(status.need != "nothing" for status in statuses):
        if not sys.stdin.isatty():
            raise UsageError("reproduce asks before it starts runs, and standard input is not a terminal", "add --yes")
        if not typer.confirm("Start?"):
            raise typer.Exit(1)
    ids = reconcile(where, statuses, fresh_label(SWEEP))
    ended = _follow(where, statuses, ids, again)
    _report(where, planned.workload, path)
    if failed := [run for run in ended if run.state != "finished"]:
        names = ", ".join(f"{run.name} ({run.state}: {run.reason})" for run in failed)
        show("", f"not finished, and not in the report: {names}", f"again: {again}")
        raise typer.Exit(EXIT_FAILED)


def _possible(planned: Sequence[PlannedRun]) -> tuple[list[PlannedRun], list[str]]:
    """Return the runs that are possible on this machine, and a line for each impossible row with what is missing."""
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
    lines = [f"left out: {clean(label)}: {reason}" for label, reason in lacking.items()]
    return [run for run in planned if run.label not in lacking], lines


def _status_lines(statuses: Sequence[RunStatus], workload: str) -> list[str]:
    from collections import Counter

    counted = Counter(status.need for status in statuses)
    words: dict[Need, str] = {
        "nothing": "already finished",
        "patience": "in progress",
        "resume": "to be resumed",
        "run": "to be run",
    }
    parts = ", ".join(f"{counted[need]} {phrase}" for need, phrase in words.items() if counted[need])
    return [f"the study on workload {workload}: {len(statuses)} runs: {parts}"]


def _forecast(reader: Reader, statuses: Sequence[RunStatus]) -> list[str]:
    """Return lines with the predicted time and energy of the remaining runs, estimated from stored runs."""
    from peftbench import formatting
    from peftbench.analysis.cost import cost
    from peftbench.analysis.forecast import energy_wh
    from peftbench.report.sweep import wanted

    specs = [status.resolved.spec for status in statuses if status.need != "nothing"]
    if not specs:
        return []
    runs = list(map(wanted, specs))
    finished = [run for run in reader.judging([run.key for run in runs]) if run.workload == specs[0].workload]
    energy = energy_wh(runs, ((run, cost(reader.record(run)).run_wh) for run in finished))
    energy_text = "unknown: no run of this workload has measured it"
    if energy is not None:
        partial = f" for {energy[1]} of {len(specs)} runs" if energy[1] < len(specs) else ""
        energy_text = f"about {formatting.watt_hours(energy[0])} Wh{partial}"
    return [f"time: {_time(reader, specs)}", f"GPU energy: {energy_text}"]


def _time(reader: Reader, specs: Sequence[RunSpec]) -> str:
    import platform

    from peftbench.analysis.forecast import forecast, total
    from peftbench.report.sweep import total_in_words, wanted

    runs = list(map(wanted, specs))
    judging = reader.judging([run.key for run in runs], platform.node())
    return total_in_words(total(forecast(runs, judging, platform.node())))


def _follow(where: Path, statuses: Sequence[RunStatus], ids: Sequence[str], again: str) -> list[Run]:
    """Print the outcome of each run as it ends and the time left; Ctrl-C leaves the runs going."""
    from peftbench import formatting
    from peftbench.errors import EXIT_INTERRUPTED
    from peftbench.jobs.follow import follow
    from peftbench.store.reader import Reader
    from peftbench.text import clean

    ended: list[Run] = []
    try:
        with Reader(where) as reader:
            for position, run_id in enumerate(ids, start=1):
                for update in follow(where, run_id):
                    run = update.run
                ended.append(run)
                outcome = f"dev avg {formatting.score(run.dev_avg)}" if run.state == "finished" else run.reason or ""
                rest = [status.resolved.spec for status in statuses[position:] if status.need != "nothing"]
                left = f"; remaining: {_time(reader, rest)}" if rest else ""
                show(f"{position:>3}/{len(ids)} {clean(run.name)} {run.state}: {clean(outcome)}{left}")
    except KeyboardInterrupt:
        print(f"the runs continue; to follow them again: {again}", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    return ended


def _report(where: Path, workload: str, path: Path) -> None:
    """Write the report and print the verdict on each claim."""
    from peftbench.cli.report import write_study
    from peftbench.study import report

    calm_numpy()
    reproduction = write_study(where, workload, path)
    show("")
    print_page(report.claims_page(reproduction), None, plain=False)
