"""`peftbench run`: start runs and follow them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.output import Data, Database, Json, command, database, print_json, show

if TYPE_CHECKING:
    from pathlib import Path

    from peftbench.cli.progress import Follower
    from peftbench.errors import PeftbenchError
    from peftbench.jobs.launch import Launched
    from peftbench.store.reader import Reader
    from peftbench.store.rows import Run


def run(
    preset: Annotated[
        list[str],
        typer.Option("--preset", "-p", metavar="NAME", help="A preset, or a .toml file. Repeat it to run several."),
    ],
    workload: Annotated[
        str, typer.Option("--workload", "-w", metavar="NAME", help="A workload, or a .toml file.")
    ] = "quickstart",
    data: Data = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the spec, such as train.epochs=2."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="The run's seed.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The run's name. Default: preset and a number.")] = None,
    lock_clocks: Annotated[
        int | None,
        typer.Option("--lock-clocks", metavar="MHZ", min=1, help="Lock the GPU clocks during the run (needs root)."),
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option(
            "--idle", metavar="S", min=0, max=3600, help="Measure idle power for S seconds; use 30 to publish it."
        ),
    ] = None,
    sample_ms: Annotated[
        int | None,
        typer.Option(
            "--sample-ms", metavar="N", min=10, max=60000, help="Sampling interval in ms. Default: 100, on the CPU 500."
        ),
    ] = None,
    meter_gpu: Annotated[
        str | None,
        typer.Option("--meter-gpu", metavar="CARD", help="Meter this GPU (index or UUID), not the one computed on."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="CARD", help="Run only on this GPU (index or UUID), or on the cpu."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds", metavar="N", min=1, max=1000, help="Run a group of N seeds, starting at --seed (or 0)."
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Queue the run, print its id and return.")] = False,
    headless: Annotated[
        bool, typer.Option("--headless", help="No dashboard: follow the run here, line by line in a pipe.")
    ] = False,
    checkpoint_minutes: Annotated[
        float,
        typer.Option(
            "--checkpoint-minutes", metavar="N", min=0.001, help="Minutes between checkpoints within an epoch."
        ),
    ] = 5.0,
    resumes: Annotated[
        int,
        typer.Option(
            "--resumes", metavar="N", min=0, max=100, help="Resume automatically up to N times if it is killed."
        ),
    ] = 2,
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Train and evaluate a variant, follow it here, and store the run. Runs that are already queued go first.

    Example: peftbench run --preset dora-r12 --workload paper --data DIR --set train.epochs=2 --seed 3 --headless
    """
    from peftbench.errors import UsageError
    from peftbench.jobs.devices import device_named
    from peftbench.jobs.launch import Launched
    from peftbench.jobs.queue import enqueue, fresh_label
    from peftbench.meters.nvml_library import check_card
    from peftbench.report.formats import json
    from peftbench.spec import resolve
    from peftbench.spec.folds import of_each_fold
    from peftbench.store.reader import Reader
    from peftbench.store.rows import MeterSettings, RunSettings

    numbers: list[int | None] = [seed] if seeds is None else [(seed or 0) + number for number in range(seeds)]
    planned = [
        of_each_fold(resolve(preset_name, workload, data=data or (), overrides=overrides or (), seed=number))
        for number in numbers
        for preset_name in preset
    ]
    resolved = [one for folds in planned for one in folds]
    if name is not None and len(resolved) > 1:
        raise UsageError(
            "--name applies to one run, but several would be started", "leave --name away, or start one run"
        )
    where = database(db)
    follow_with = follower(as_json)
    check_card(meter_gpu, needed_for=None if lock_clocks is None else f"--lock-clocks {lock_clocks}")
    ids = enqueue(
        where,
        resolved,
        sweep=None if seeds is None and len(resolved) == len(preset) else fresh_label("+".join(preset)),
        name=name,
        meter_settings=MeterSettings(sample_ms, idle, lock_clocks, meter_gpu),
        settings=RunSettings(checkpoint_minutes, resumes),
        device=device_named(device),
    )
    if detach:
        _say_queued(ids, as_json, db)
        return
    runs = _follow_all([Launched(run_id, where) for run_id in ids], follow_with, db)
    with Reader(where) as reader:
        if as_json:
            records = [json.run_full(reader.record(run)) for run in runs]
            print_json(records if len(records) > 1 else records[0])
        elif len(runs) > 1:
            _show_comparison(reader, runs)
            show("", _next(runs, db))
        else:
            show(f"next: {command('show', runs[0].name, db=db)}")


def _say_queued(ids: list[str], as_json: bool, db: Path | None) -> None:
    if as_json:
        print_json({"id": ids[0]} if len(ids) == 1 else {"ids": ids})
        return
    print("\n".join(ids))
    following = command("watch", ids[0], db=db) if len(ids) == 1 else command("queue", db=db)
    print(f"next: {following}", file=sys.stderr)


def follower(as_json: bool) -> Follower:
    """Return the progress output for a run: bars on a terminal, lines elsewhere, nothing for JSON."""
    from peftbench.cli.output import console
    from peftbench.cli.progress import BarFollower, Follower, LineFollower

    if as_json:
        return Follower()
    out = console()
    plain = not sys.stdout.isatty() or out.is_dumb_terminal or "NO_COLOR" in os.environ
    return LineFollower() if plain else BarFollower(out)


def _follow_all(launched: list[Launched], follower: Follower, db: Path | None) -> list[Run]:
    """Follow runs until they end, one after another, and return them. Ctrl-C stops this run and all later ones.

    Raises:
        PeftbenchError: a run failed or was stopped; with its exit code in the database. Raised after all were followed.
    """
    from peftbench.jobs.control import stop
    from peftbench.store.reader import Reader

    ended: list[Run] = []
    for number, each in enumerate(launched):
        ended.append(follow_one(each, follower))
        if each.stops_asked:  # even if this run finished first
            with Reader(each.database) as reader:
                for later in launched[number + 1 :]:
                    stop(later.database, reader.run(later.run_id))
            break
    for run in ended:
        if run.state != "finished":
            raise unfinished(run, db)
    return ended


def follow_one(launched: Launched, follower: Follower) -> Run:
    """Follow a run until it ends, stopping it on Ctrl-C."""
    from peftbench.cli.progress import stop_on_ctrl_c

    with stop_on_ctrl_c(launched):
        return follower.follow(launched.follow())


def unfinished(run: Run, db: Path | None) -> PeftbenchError:
    """Return an error describing how a run ended, with the run's exit code in the database."""
    from peftbench.errors import EXIT_FAILED, PeftbenchError

    if run.state == "stopped":
        hint = f"resume it: {command('resume', run.name, db=db)}"
    elif run.epochs_done:
        hint = f"its {run.epochs_done} finished epochs are stored: {command('show', run.name, db=db)}"
    else:
        hint = f"its log: {command('log', run.name, db=db)}"
    error = PeftbenchError(f"run {run.name} ({run.id}) {run.state}: {run.reason}", hint)
    error.exit_code = run.exit_code or EXIT_FAILED
    return error


def _show_comparison(reader: Reader, runs: list[Run]) -> None:
    from peftbench import formatting
    from peftbench.analysis.comparison import compare
    from peftbench.analysis.groups import grouped, spread_of
    from peftbench.analysis.scores import summary
    from peftbench.report.comparison import shown

    groups = grouped([reader.record(run, predictions=True) for run in runs])
    if len(groups) > 1:
        show("", shown(compare(groups)))
    elif groups[0].first.folds is not None:
        tested = spread_of(groups[0], [summary(record, "test")[0] for record in groups[0].records])
        if tested is not None and tested.n > 1:
            over = f"{formatting.score(tested.mean)} ±{formatting.score(tested.sd)} over {tested.n} folds"
            show("", f"{groups[0].label}: test avg {over}")


def _next(runs: list[Run], db: Path | None) -> str:
    """Return what to do with the runs: to compare them again, or their groups where they are folds."""
    if all(run.folds is None for run in runs):
        return f"again: {command('compare', *(run.name for run in runs), db=db)}"
    presets = list(dict.fromkeys(run.preset for run in runs))
    if len(presets) > 1:
        return f"again: {command('compare', *presets, db=db)}"
    return f"next: {command('show', runs[0].name, db=db)}; compare its folds with those of another: " + command(
        "compare", presets[0], "OTHER", db=db
    )
