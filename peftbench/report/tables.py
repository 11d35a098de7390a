"""Runs as rich tables of at most 80 columns; external text is cleaned and never interpreted as markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from peftbench import formatting
from peftbench.analysis.cost import Cost, cost
from peftbench.analysis.scores import has_leaderboard, summary
from peftbench.jobs.liveness import state_shown
from peftbench.report.adapters import adapted_lines
from peftbench.report.headlines import list_note, scores_line
from peftbench.report.memory import memory_line
from peftbench.report.plain_table import plain_table
from peftbench.report.resources import TASKS_A_TABLE, flag_lines, resources
from peftbench.store.listing import Listed
from peftbench.store.rows import Run, RunRecord, UnreadableRun
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


def run_list(runs: Sequence[Listed]) -> Group:
    """Return a table of the runs, and what their scores are of; unreadable rows show what is known of them."""
    table = plain_table(
        ("run", "id", "workload", "state", "epoch", "dev avg", "started"),
        [_listed_cells(run) for run in runs],
        left=4,
    )
    note = list_note(run for run in runs if isinstance(run, Run))
    return Group(table, *([Text(""), Text(note, style="dim")] if note else []))


def _listed_cells(run: Listed) -> tuple[str | Text, ...]:
    if isinstance(run, UnreadableRun):
        state = Text("unreadable", style="bold red")
        return (clean(run.name, 24), clean(run.id, 8), formatting.NOTHING, state, *[formatting.NOTHING] * 3)
    shown = state_shown(run)
    return (
        clean(run.name, 24),
        run.id,
        clean(run.workload, 14),
        Text(shown, style=STATE_STYLE.get(shown, "")),
        f"{run.epochs_done}/{run.epochs_planned}",
        formatting.score(run.dev_avg),
        formatting.moment(run.created_at)[5:],
    )


def listed_title(run: Listed) -> Text:
    """Return a run's title, readable or not."""
    if isinstance(run, UnreadableRun):
        return Text.assemble((clean(run.name), "bold"), f" ({clean(run.id)}): unreadable: {clean(run.reason)}")
    return run_title(run)


def run_title(run: Run) -> Text:
    """Return the title of a run in every view: name, id, preset, workload, encoder, seed, fold."""
    fold = "" if run.fold is None else f", fold {run.fold + 1} of {run.folds}"
    return Text.assemble(
        (clean(run.name), "bold"),
        f" ({run.id}): preset {clean(run.preset)} on workload {clean(run.workload)}"
        f" ({clean(run.encoder)}), seed {run.seed}{fold}",
    )


def run_page(record: RunRecord) -> Group:
    """Return the page of one run: state, scores by epoch, cost, conditions, events."""
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
    """Return a table of all values of a spec and their origins."""
    return plain_table(
        ("key", "value", "from"),
        [(clean(key), clean(value), clean(origins.get(key, ""))) for key, value in values],
        left=3,
    )


def spec_page(run: Run) -> Group:
    """Return a run's spec with the origin of each value, and the modules that its targets matched."""
    from peftbench.spec import flatten  # pydantic loads slowly

    values = dict(flatten(run.spec))
    return Group(spec_table(values.items(), run.origins), *adapted_lines(run.conditions.get("adapted") or {}))


def _epochs(record: RunRecord) -> list[Table]:
    """Return the scores by epoch, a table per three tasks, so that none is wider than 80 columns."""
    groups = [record.tasks[at : at + TASKS_A_TABLE] for at in range(0, len(record.tasks), TASKS_A_TABLE)]
    return [_epochs_of(record, tasks) for tasks in groups]


def _epochs_of(record: RunRecord, tasks: Sequence[str]) -> Table:
    rows = []
    for epoch in record.epochs:
        cells = [str(epoch.epoch)]
        for task in tasks:
            values = [record.score(task, split, epoch.epoch) for split in ("train", "dev")]
            cells += [formatting.score(score.value if score else None) for score in values]
        mark = " *" if epoch.epoch == record.run.best_epoch else "  "
        board = (formatting.score(epoch.leaderboard),) if has_leaderboard(record.tasks) else ()
        rows.append((*cells, formatting.score(epoch.dev_avg) + mark, *board))
    headers = [label for task in tasks for label in (f"{clean(task, 10)}\ntrain", "\ndev")]
    heads = ("\nepoch", *headers, "\nDev Avg  ", "\nleaderboard")
    return plain_table(heads if has_leaderboard(record.tasks) else heads[:-1], rows)


def _best_lines(record: RunRecord) -> list[Text]:
    best = f"* best epoch by dev average: {record.run.best_epoch}"
    lines = [
        Text(scores_line(record.run)),
        Text(best if record.run.dev_avg is not None else "no epoch has a dev average; the first epoch counts as best"),
    ]
    if record.task_bests:
        bests = [f"{clean(best.task)} {best.epoch} ({formatting.score(best.value)})" for best in record.task_bests]
        lines.append(Text(f"  best epoch of each task: {', '.join(bests)}"))
    if (tested := held_out_words(record)) is not None:
        lines.append(Text(f"  {tested}", style="bold"))
    for score in record.scores:
        if score.value is None:
            label = f"epoch {score.epoch}, {clean(score.task)} {score.split}"
            lines.append(Text(f"  {label}: no {score.metric}: {clean(score.reason)}"))
    return lines


def held_out_words(record: RunRecord) -> str | None:
    """Return a run's scores on the test split, in words; None where it has none."""
    scores = [score for task in record.tasks if (score := record.score(task, "test")) is not None]
    if not scores:
        return None
    mean = [f"Test Avg {formatting.score(summary(record, 'test')[0])}"] if len(record.tasks) > 1 else []
    values = [f"{clean(score.task)} {formatting.score(score.value)} ({score.examples:,})" for score in scores]
    return f"test, scored once at that epoch (examples): {', '.join((*values, *mean))}"


def _facts(run: Run, spent: Cost) -> Table:
    conditions = run.conditions
    adapters = {formatting.count(value) for value in run.adapter_weights.values() if value}
    rows = [
        *([("tags", ", ".join(map(clean, run.tags)))] if run.tags else []),
        *([("note", clean(run.note))] if run.note else []),
        (
            "weights",
            f"{formatting.count(run.weights_trainable)} trained of {formatting.count(run.weights_total)}"
            + (f"; adapters {', '.join(sorted(adapters))} per task" if adapters else ""),
        ),
        (
            "time",
            f"load {formatting.seconds(spent.load_s)}, "
            + (
                f"frozen layers (once) {formatting.seconds(spent.frozen_features_s)}, "
                if spent.frozen_features_s is not None
                else ""
            )
            + f"train {formatting.seconds(spent.train_s)}, "
            f"eval {formatting.seconds(spent.eval_s)}, whole run {formatting.seconds(spent.run_s)}",
        ),
        ("computed by", clean(conditions.get("path", formatting.NOTHING))),
        ("peak memory", f"{formatting.mib(spent.peak_rss_mib)} MiB RSS of the process, in training and evaluation"),
        ("step memory", memory_line(run)),
        (
            "measured on",
            "{}, {} threads, torch {}".format(
                *(clean(conditions.get(key, formatting.NOTHING)) for key in ("device", "threads", "torch"))
            )
            if conditions
            else formatting.NOTHING,
        ),
        (
            "spec",
            f"{run.spec_hash[:12]} (group {run.group_hash[:12]}, data {(run.data_hash or formatting.NOTHING)[:12]})",
        ),
        ("created", formatting.moment(run.created_at)),
    ]
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table
