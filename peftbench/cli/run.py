"""`peftbench run`: start runs and follow them."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.output import Database, Json, database, print_json, show

if TYPE_CHECKING:
    from pathlib import Path

    from peftbench.cli.progress import Follower
    from peftbench.spec import Resolved
    from peftbench.store.reader import Reader
    from peftbench.store.rows import MeterSettings, Run


def run(
    preset: Annotated[
        list[str],
        typer.Option("--preset", "-p", metavar="NAME", help="A preset, or a .toml file. Several run in turn."),
    ],
    workload: Annotated[
        str, typer.Option("--workload", "-w", metavar="NAME", help="A workload, or a .toml file.")
    ] = "quickstart",
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="[TASK=]DIR", help="The folder of the workload's files, for all tasks or one."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the spec, such as train.epochs=2."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="The run's seed.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The run's name; else the preset's with a number.")] = None,
    lock_clocks: Annotated[
        int | None,
        typer.Option("--lock-clocks", metavar="MHZ", min=1, help="Lock the card's clocks for the run (needs root)."),
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option("--idle", metavar="S", min=0, max=3600, help="Measure idle power so long; 30 to publish it."),
    ] = None,
    sample_ms: Annotated[
        int | None,
        typer.Option(
            "--sample-ms", metavar="N", min=10, max=60000, help="Milliseconds between samples; 100, on the CPU 500."
        ),
    ] = None,
    meter_gpu: Annotated[
        str | None,
        typer.Option("--meter-gpu", metavar="CARD", help="Read this card (index or UUID), not the one computed on."),
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="No dashboard: follow the run here, line by line in a pipe.")
    ] = False,
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Train and evaluate a variant, follow it here, and keep the run.

    Example: peftbench run --preset dora-r12 --workload paper --data DIR --set train.epochs=2 --seed 3 --headless
    """
    from peftbench.errors import UsageError
    from peftbench.meters.nvml_library import check_card
    from peftbench.report import jsonable
    from peftbench.spec import resolve
    from peftbench.store.reader import Reader
    from peftbench.store.rows import MeterSettings

    if name is not None and len(preset) > 1:
        raise UsageError("--name names one run, and several presets were given")
    resolved = [resolve(one, workload, data=data or (), overrides=overrides or (), seed=seed) for one in preset]
    where = database(db)
    follower = _follower(as_json)
    check_card(meter_gpu, needed_for=None if lock_clocks is None else f"--lock-clocks {lock_clocks}")
    settings = MeterSettings(sample_ms, idle, lock_clocks, meter_gpu)
    runs = [_one(spec, where, name, settings, follower) for spec in resolved]
    with Reader(where) as reader:
        if as_json:
            found = [jsonable.run_full(reader.record(run)) for run in runs]
            print_json(found if len(found) > 1 else found[0])
        elif len(runs) > 1:
            _show_comparison(reader, runs)
            show("", f"again: {_command('compare', *(run.name for run in runs), db=db)}")
        else:
            show(f"next: {_command('show', runs[0].name, db=db)}")


def _follower(as_json: bool) -> Follower:
    from peftbench.cli.output import console
    from peftbench.cli.progress import BarFollower, Follower, LineFollower

    if as_json:
        return Follower()
    out = console()
    plain = not sys.stdout.isatty() or out.is_dumb_terminal or "NO_COLOR" in os.environ
    return LineFollower() if plain else BarFollower(out)


def _one(resolved: Resolved, where: Path, name: str | None, settings: MeterSettings, follower: Follower) -> Run:
    """Launch one run and follow it to its end.

    Raises:
        PeftbenchError: it failed or was interrupted; with the exit code the run has in the store.
    """
    from peftbench.cli.progress import stop_on_ctrl_c
    from peftbench.errors import Interrupted, PeftbenchError
    from peftbench.jobs.launch import launch

    launched = launch(resolved, where, name, settings)
    with stop_on_ctrl_c(launched):
        ended = follower.follow(launched)
    if ended.state == "finished":
        return ended
    error = (Interrupted if ended.state == "interrupted" else PeftbenchError)(
        f"run {ended.name} ({ended.id}) {ended.state}: {ended.reason}",
        f"its {ended.epochs_done} finished epochs are kept: {_command('show', ended.name, db=where)}"
        if ended.epochs_done
        else f"its log: {launched.log}",
    )
    error.exit_code = ended.exit_code or error.exit_code
    raise error


def _show_comparison(reader: Reader, runs: list[Run]) -> None:
    from peftbench.analysis.comparison import compare
    from peftbench.report import tables

    show("", tables.comparison(compare([reader.record(run, predictions=True) for run in runs])))


def _command(*words: str, db: Path | None) -> str:
    """Return a command as the user would type it, on the same database."""
    return shlex.join(["peftbench", *words, *(["--db", str(db)] if db else [])])
