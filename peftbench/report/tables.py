"""Runs as rich tables. They fit 80 columns; text from outside is cleaned, never markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from peftbench.analysis.resources import Cost, cost
from peftbench.jobs.liveness import state_shown
from peftbench.report import figures
from peftbench.report.anatomy import memory_line
from peftbench.report.layout import plain_table
from peftbench.report.resources import TASKS_A_TABLE, flag_lines, resources
from peftbench.store.rows import Run, RunRecord
from peftbench.text import clean

STATE_STYLE = {
    "finished": "green",
    "failed": "bold red",
    "lost": "bold red",
    "stalled": "red",
    "stopped": "yellow",
    "stopping": "yellow",
    "queued": "dim",
}


def run_list(runs: Sequence[Run]) -> Table:
    """Return the runs, the newest first."""
    return plain_table(
        ("run", "id", "workload", "state", "epoch", "dev avg", "started"),
        [
            (
                clean(run.name, 24),
                run.id,
                clean(run.workload, 14),
                Text(state := state_shown(run), style=STATE_STYLE.get(state, "")),
                f"{run.epochs_done}/{run.epochs_planned}",
                figures.score(run.dev_avg),
                figures.moment(run.created_at)[5:],
            )
            for run in runs
        ],
        left=4,
    )


def run_title(run: Run) -> Text:
    """Return the header that every view of a run carries: what, on what, with which seed."""
    return Text.assemble(
        (clean(run.name), "bold"),
        f" ({run.id}): preset {clean(run.preset)} on workload {clean(run.workload)}"
        f" ({clean(run.encoder)}), seed {run.seed}",
    )


def run_page(record: RunRecord) -> Group:
    """Return all of one run: state, scores of every epoch, cost, conditions, events."""
    run, spent = record.run, cost(record)
    state = state_shown(run)
    parts: list[RenderableType] = [
        run_title(run),
        Text.assemble(
            ("state", "dim"),
            "  ",
            (state, STATE_STYLE.get(state, "")),
            f"{f': {clean(run.reason)}' if run.reason else ''}",
        ),
        Text(""),
    ]
    if record.epochs:
        parts += [*_epochs(record), Text(""), *_best_lines(record), Text("")]
    parts += [_facts(run, spent), Text(""), resources([record], [spent]), *flag_lines(record)]
    if notes := [event for event in record.events if event.kind != "state"]:
        parts += [Text(""), *(Text(f"{clean(event.kind)}: {clean(event.message)}") for event in notes)]
    return Group(*parts)


def spec_table(values: Iterable[tuple[str, Any]], origins: dict[str, str]) -> Table:
    """Return every value of a spec and where it came from."""
    return plain_table(
        ("key", "value", "from"),
        [(clean(key), clean(value), clean(origins.get(key, ""))) for key, value in values],
        left=3,
    )


def _epochs(record: RunRecord) -> list[Table]:
    """Return the scores of every epoch: a table for each three tasks, so that none is wider than 80 columns."""
    groups = [record.tasks[at : at + TASKS_A_TABLE] for at in range(0, len(record.tasks), TASKS_A_TABLE)]
    return [_epochs_of(record, tasks) for tasks in groups]


def _epochs_of(record: RunRecord, tasks: Sequence[str]) -> Table:
    rows = []
    for epoch in record.epochs:
        cells = [str(epoch.epoch)]
        for task in tasks:
            values = [record.score(task, split, epoch.epoch) for split in ("train", "dev")]
            cells += [figures.score(score.value if score else None) for score in values]
        mark = " *" if epoch.epoch == record.run.best_epoch else "  "
        rows.append((*cells, figures.score(epoch.dev_avg) + mark, figures.score(epoch.leaderboard)))
    headers = [label for task in tasks for label in (f"{clean(task, 10)}\ntrain", "\ndev")]
    return plain_table(("\nepoch", *headers, "\nDev Avg  ", "\nleaderboard"), rows)


def _best_lines(record: RunRecord) -> list[Text]:
    best = f"* best epoch by dev average: {record.run.best_epoch}"
    lines = [Text(best if record.run.dev_avg is not None else "no epoch has a dev average; the first one is kept")]
    if record.task_bests:
        bests = [f"{clean(best.task)} {best.epoch} ({figures.score(best.value)})" for best in record.task_bests]
        lines.append(Text(f"  best epoch of each task by itself: {', '.join(bests)}"))
    for score in record.scores:
        if score.value is None:
            place = f"epoch {score.epoch}, {clean(score.task)} {score.split}"
            lines.append(Text(f"  {place}: no {score.metric}: {clean(score.reason)}"))
    return lines


def _facts(run: Run, spent: Cost) -> Table:
    conditions = run.conditions
    adapters = {figures.count(value) for value in run.adapter_weights.values() if value}
    rows = [
        (
            "weights",
            f"{figures.count(run.weights_trainable)} trained of {figures.count(run.weights_total)}"
            + (f"; adapters {', '.join(sorted(adapters))} a task" if adapters else ""),
        ),
        (
            "time",
            f"load {figures.seconds(spent.load_s)}, "
            + (f"frozen layers once {figures.seconds(spent.prefix_s)}, " if spent.prefix_s is not None else "")
            + f"train {figures.seconds(spent.train_s)}, "
            f"eval {figures.seconds(spent.eval_s)}, whole run {figures.seconds(spent.run_s)}",
        ),
        ("computed by", clean(conditions.get("path", figures.NOTHING))),
        ("peak memory", f"{figures.mib(spent.peak_rss_mib)} MiB of the process"),
        ("step memory", memory_line(run)),
        (
            "measured on",
            "{}, {} threads, torch {}".format(
                *(clean(conditions.get(key, figures.NOTHING)) for key in ("device", "threads", "torch"))
            )
            if conditions
            else figures.NOTHING,
        ),
        (
            "spec",
            f"{run.spec_hash[:12]} (group {run.group_hash[:12]}, data {(run.data_hash or figures.NOTHING)[:12]})",
        ),
        ("created", figures.moment(run.created_at)),
    ]
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table
