"""The study's tables with our values beside the published ones: Table 1, the leaderboard, Table 2, Figure 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from peftbench import formatting
from peftbench.analysis.comparison import LEADERBOARD, Comparison
from peftbench.analysis.cost_comparison import GroupCost
from peftbench.analysis.groups import Group, Spread, spread
from peftbench.analysis.scores import DEV_AVG, headlines, leaderboard
from peftbench.report.comparison import spread_cell
from peftbench.report.headlines import metrics_of
from peftbench.report.page import Cell, Sheet, name
from peftbench.report.resources import VRAM_BY
from peftbench.store.rows import Run
from peftbench.study import published
from peftbench.study.groups import AUGMENTED, RANKS, ROWS, StudyGroups
from peftbench.text import clean

NO_RUN = "no run"
NOT_MEASURED = "not measured"
NO_ROW = "no such row"


def table_1(groups: StudyGroups, result: Comparison) -> Sheet:
    """Return dev scores at the best epoch beside those of Table 1, then rows that the study does not have."""
    tasks = result.groups[0].records[0].tasks
    keys = (*tasks, DEV_AVG)
    rows = []
    for label, group, row in _rows(groups):
        cells = [name(label), _runs(group)]
        for key in keys:
            cells += [_score(result, group, key), _printed(row, row.dev.get(key) if row else None, formatting.score)]
        rows.append((*cells, _score(result, group, LEADERBOARD)))
    heads = [head for key in keys for head in (f"{_metric_label(key)}\nours", "\nstudy's")]
    notes = (
        f"dev, best epoch: {metrics_of(_ours_runs(result))}; Dev Avg is the plain mean of the tasks; the study has one "
        "run per row, no seeds; it does not report the leaderboard's formula on dev",
        *_other_metrics(result),
    )
    title = "Table 1: scores on dev, ours beside the study's"
    return Sheet("table_1", title, ("row", "\nruns", *heads, "leader-\nboard"), tuple(rows), notes)


def test_scores(groups: StudyGroups, result: Comparison) -> Sheet:
    """Return the leaderboard scores, which are on the test split, beside dev scores."""
    facts, best = published.facts(), published.by_preset()[published.facts().test_preset]
    printed = {task: (metric, best.dev[task]) for task, metric in published.METRICS.items()}
    on_dev = {**best.dev, LEADERBOARD: leaderboard(printed)}
    ours = groups.row(facts.test_preset)
    keys = (*published.METRICS, LEADERBOARD)
    rows = (
        (name("study's"), Cell("test", "test"), *(_figure(facts.test.get(key), formatting.score) for key in keys)),
        (name("study's"), Cell("dev", "dev"), *(_figure(on_dev.get(key), formatting.score) for key in keys)),
        (name("ours"), Cell("dev", "dev"), *(replace(_score(result, ours, key), best=False) for key in keys)),
        (name("ours"), Cell("test", "test"), *(Cell("no labels") for _ in keys)),
    )
    notes = (
        "leaderboard: (sst + paraphrase + (sts + 1) / 2) / 3; the study's on dev is computed from Table 1",
        "the test files are unlabelled: peftbench submit writes predictions, which the course scores",
    )
    title = f"Leaderboard: {facts.test_preset} on test (Table 1 has dev scores)"
    return Sheet("leaderboard", title, (f"{facts.test_preset},", "split", *keys), rows, notes)


def table_2(groups: StudyGroups, result: Comparison) -> Sheet:
    """Return memory, speed, power and energy per iteration beside those of Table 2."""
    tasks = result.groups[0].records[0].tasks
    task = "sst" if "sst" in tasks else tasks[0]
    key, label = _memory(result)
    rows = []
    for shown, group, row in _rows(groups):
        spent = None if group is None else result.spendings[result.groups.index(group)]
        columns = (
            (spent.figures[key] if spent else None, row.vram_mib if row else None, formatting.mib),
            (spent.its.get(task) if spent else None, row.sst_its if row else None, formatting.rate),
            (_of_task(spent, "power_w", task), row.power_w if row else None, formatting.watts),
            (_of_task(spent, "j_per_step", task), row.j_per_step if row else None, formatting.joules),
        )
        cells = [name(shown)]
        for ours, printed, write in columns:
            cells += [_ours(group, ours, write), _printed(row, printed, write)]
        rows.append(tuple(cells))
    cost_heads = (f"{label}\nMiB", f"{clean(task)}\nit/s", "power\nW", "energy\nJ/it")
    heads = ("row", *(head for each in cost_heads for head in (each, "\nstudy's")))
    notes = [
        f"speed, power and energy of {clean(task)}, as in the study; the study's memory is the GPU's as in nvidia-smi, "
        "its J/it is power divided by speed",
        f"the study's: {published.facts().gpu}",
        *dict.fromkeys(
            VRAM_BY[run_cost.vram_source]
            for spent in result.spendings
            for run_cost in spent.costs
            if run_cost.vram_source
        ),
    ]
    if key != "vram_mib":
        notes.append("our memory is the process's RSS on the CPU, the study's is a GPU's: they are not comparable")
    return Sheet("table_2", "Table 2: cost, ours beside the study's", heads, tuple(rows), tuple(notes))


def figure_2(groups: StudyGroups, result: Comparison) -> Sheet:
    """Return DoRA by rank at its best and last epoch, beside the study's average."""
    rows = []
    for rank, preset in RANKS.items():
        group = groups.row(preset)
        printed = _figure(published.by_preset()[preset].dev[DEV_AVG], formatting.score)
        if group is None:
            rows.append((name(str(rank)), Cell(NO_RUN), printed, *[Cell(NO_RUN)] * 3))
            continue
        of = result.dynamics[result.groups.index(group)]
        rows.append(
            (
                name(str(rank)),
                _score(result, group, DEV_AVG),
                printed,
                Cell(f"{formatting.ranged(of.best_epochs)} of {formatting.ranged(of.epochs)}"),
                _ours(group, of.gap_best, formatting.score),
                _ours(group, of.gap_last, formatting.score),
            )
        )
    heads = ("DoRA rank", "Dev Avg\nours", "\nstudy's", "best epoch", "gap, best", "gap, last")
    note = (
        "gap: train minus dev, mean of the tasks; the study's Figure 2 has only curves, no numbers; ours are in --html "
        "and in peftbench plot curves"
    )
    return Sheet("figure_2", "Figure 2: DoRA by rank, at its best and last epoch", heads, tuple(rows), (note,))


def _ours_runs(result: Comparison) -> list[Run]:
    return [record.run for record in result.records]


def _other_metrics(result: Comparison) -> tuple[str, ...]:
    """Return a note where a task of ours is not judged by the study's metric."""
    ours = headlines(result.groups[0].first)
    other = {task: of for task, of in published.METRICS.items() if task in ours and ours[task] != of}
    named = "; ".join(
        f"{task} {formatting.metric(ours[task])} for {formatting.metric(of)}" for task, of in other.items()
    )
    return (f"ours are of other metrics than the study's, and not comparable: {named}",) if named else ()


def _rows(groups: StudyGroups) -> Iterator[tuple[str, Group | None, published.PublishedRow | None]]:
    """Yield the study's nine rows with our groups, then our further rows that the study does not have."""
    for row in published.rows():
        yield row.preset, groups.row(row.preset), row
    for preset in ROWS:
        if preset in groups.rows and preset not in published.by_preset():
            yield preset, groups.rows[preset], None
    for _, group in groups.augmented:
        if group is not groups.row(AUGMENTED):
            yield clean(group.label), group, None


def _metric_label(key: str) -> str:
    return "Dev Avg" if key == DEV_AVG else clean(key)


def _runs(group: Group | None) -> Cell:
    return Cell("0", 0) if group is None else Cell(str(len(group.records)), len(group.records))


def _score(result: Comparison, group: Group | None, key: str) -> Cell:
    if group is None:
        return Cell(NO_RUN)
    index = result.groups.index(group)
    return _ours(group, result.scores[index].get(key), formatting.score, index in result.best.get(key, ()))


def _ours(group: Group | None, of: Spread | None, write: Callable[[float | None], str], best: bool = False) -> Cell:
    if group is None:
        return Cell(NO_RUN)
    return Cell(NOT_MEASURED) if of is None else spread_cell(of, write, best)


def _printed(row: published.PublishedRow | None, value: float | None, write: Callable[[float | None], str]) -> Cell:
    return Cell(NO_ROW) if row is None else _figure(value, write)


def _figure(value: float | None, write: Callable[[float | None], str]) -> Cell:
    return Cell("no such task" if value is None else write(value), value)


def _memory(result: Comparison) -> tuple[str, str]:
    measured = any(spent.figures["vram_mib"] for spent in result.spendings)
    return ("vram_mib", "our VRAM") if measured else ("peak_rss_mib", "our RSS")


def _of_task(spent: GroupCost | None, figure: str, task: str) -> Spread | None:
    values: list[Mapping[str, float]] = [getattr(run_cost, figure) for run_cost in spent.costs] if spent else []
    return spread(of_task.get(task) for of_task in values)
