"""A comparison as a page: every table and sentence of `peftbench compare`, whatever the format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from peftbench.analysis.comparability import Difference, Mixed
from peftbench.analysis.comparison import LEADERBOARD, Comparison
from peftbench.analysis.difference import MetricDifference
from peftbench.analysis.dynamics import Dynamics
from peftbench.analysis.groups import Group, Spread
from peftbench.analysis.quality import flags
from peftbench.analysis.samples import DEV_AVG
from peftbench.report import figures
from peftbench.report.resources import VRAM_BY
from peftbench.report.sheet import Cell, Line, Page, Sheet, name
from peftbench.report.terminal import Screen
from peftbench.report.verdicts import metric_name, verdict
from peftbench.text import clean

_YES_NO = {True: "yes", False: "no"}


def shown(result: Comparison) -> Screen:
    """Return a comparison as it is shown in a terminal, whatever its width."""
    return Screen(page(result))


def page(result: Comparison, all_config: bool = False) -> Page:
    """Return a comparison as a page; with `all_config`, also the settings in which the groups do not differ."""
    first = result.groups[0].first
    harmless = [each.key for each in result.differences if each.standing == "harmless"]
    shown = result.settings if all_config else [each for each in result.differences if each.standing == "studied"]
    return Page(
        title=f"workload {clean(first.workload)} ({clean(first.encoder)}); scores on dev, best epoch; "
        f"baseline {clean(result.groups[0].label)}",
        warnings=tuple(unlike(result.groups, each) for each in result.unfair),
        verdicts=tuple(Line(verdict(result, each), strong=True) for each in result.against),
        differences=(Line(f"differs, but does no harm: {', '.join(map(clean, harmless))}"),) if harmless else (),
        sheets=(
            *((_settings(result.groups, shown),) if shown else ()),
            _quality(result),
            _resources(result),
            _costs(result),
            _dynamics(result),
        ),
        notes=tuple(_notes(result)),
    )


def unlike(groups: Sequence[Group], difference: Difference) -> Line:
    """Return the line that names a setting in which groups differ unfairly, with each one's value."""
    values = ", ".join(
        f"{clean(one.label)}: {_setting(value)}" for one, value in zip(groups, difference.values, strict=True)
    )
    return Line(f"not alike, {clean(difference.key)}: {values}", warning=True)


def _settings(groups: Sequence[Group], shown: Sequence[Difference]) -> Sheet:
    rows = tuple(
        (name(clean(each.key)), *(Cell(_setting(value), _raw(value)) for value in each.values)) for each in shown
    )
    return Sheet("settings", "settings", ("setting", *(clean(one.label) for one in groups)), rows)


def _setting(value: Any) -> str:
    if isinstance(value, Mixed):
        return " / ".join(_setting(one) for one in value.values)
    if value is None:
        return figures.NOTHING
    if isinstance(value, bool):
        return _YES_NO[value]
    return ", ".join(map(clean, value)) if isinstance(value, list | tuple) else clean(value)


def _raw(value: Any) -> float | int | str | None:
    return value if value is None or isinstance(value, float | int | str) else _setting(value)


def _quality(result: Comparison) -> Sheet:
    tasks = result.groups[0].records[0].tasks
    chosen = [task for task in tasks if task in result.metrics]
    whole = [DEV_AVG, LEADERBOARD] if DEV_AVG in result.metrics else []
    rows = []
    for place, (one, scores) in enumerate(zip(result.groups, result.scores, strict=True)):
        cells = [
            spread_cell(scores.get(key), figures.score, place in result.best.get(key, ())) for key in (*chosen, *whole)
        ]
        rows.append((name(clean(one.label)), _count(len(one.records)), *cells, _weights(one.first.weights_trainable)))
    heads = ("group", "runs", *(metric_name(task) for task in chosen), *(_HEADS[key] for key in whole), "trained")
    return Sheet("quality", "quality", heads, tuple(rows))


_HEADS = {DEV_AVG: "Dev Avg", LEADERBOARD: "leaderboard"}


def _resources(result: Comparison) -> Sheet:
    tasks = result.groups[0].records[0].tasks
    columns: list[tuple[str, str, Callable[[float | None], str]]] = [
        ("peak_rss_mib", "peak\nRSS MiB", figures.mib),
        ("vram_mib", "VRAM\nMiB", figures.mib),
        ("power_w", "\nW", figures.watts),
        ("j_per_1k_examples", "J/1,000\nex.", figures.joules),
    ]
    shown = [each for each in columns if any(spent.figures[each[0]] for spent in result.spendings)]
    rows = [
        (
            name(clean(one.label)),
            *(spread_cell(spent.its.get(task), figures.rate) for task in tasks),
            *(spread_cell(spent.figures[key], write, place in result.best[key]) for key, _, write in shown),
        )
        for place, (one, spent) in enumerate(zip(result.groups, result.spendings, strict=True))
    ]
    heads = ("\ngroup", *(f"{clean(task, 10)}\nit/s" for task in tasks), *(head for _, head, _ in shown))
    return Sheet("resources", "resources", heads, tuple(rows), tuple(_said(result)))


def _said(result: Comparison) -> list[str]:
    """Say how VRAM and energy were read, and what was not."""
    costs = [one for spent in result.spendings for one in spent.costs]
    said = [VRAM_BY[one.vram_source] for one in costs if one.vram_source is not None]
    said += ["energy: power integrated, no counter" for one in costs if one.energy_source == "integrated"]
    missing = [
        word
        for word, key in (("VRAM", "vram_mib"), ("power", "power_w"), ("energy", "run_wh"))
        if not any(spent.figures[key] for spent in result.spendings)
    ]
    return [*dict.fromkeys(said), *([f"not measured here: {', '.join(missing)}"] if missing else [])]


def _costs(result: Comparison) -> Sheet:
    columns: list[tuple[str, str, Callable[[float | None], str]]] = [
        ("train_s", "train", figures.seconds),
        ("eval_s", "eval", figures.seconds),
        ("run_s", "whole run", figures.seconds),
        ("run_wh", "run Wh", figures.watt_hours),
    ]
    shown = [each for each in columns if any(spent.figures[each[0]] for spent in result.spendings)]
    ratios = [None, *({cost.figure: cost for cost in each.costs} for each in result.against)]
    rows = []
    for place, (one, spent, ratio) in enumerate(zip(result.groups, result.spendings, ratios, strict=True)):
        cells = [name(clean(one.label))]
        for key, _, write in shown:
            cells.append(spread_cell(spent.figures[key], write, place in result.best[key]))
            found = ratio.get(key) if ratio else None
            cells.append(Cell(figures.share(found.ratio), found.ratio) if found else Cell(""))
        rows.append(tuple(cells))
    heads = ("group", *(head for _, label, _ in shown for head in (label, "to base")))
    return Sheet("cost", "cost", heads, tuple(rows))


def _dynamics(result: Comparison) -> Sheet:
    rows = [
        (
            name(clean(one.label)),
            Cell(f"{figures.ranged(of.best_epochs)} of {figures.ranged(of.epochs)}", figures.ranged(of.best_epochs)),
            spread_cell(of.to_nearly, _epochs),
            _mean(of.gap_first),
            spread_cell(of.gap_best, figures.score),
            _mean(of.gap_last),
            _grows(of),
        )
        for one, of in zip(result.groups, result.dynamics, strict=True)
    ]
    heads = ("\ngroup", "best\nepoch", "epochs to\n95 %", "gap,\nfirst", "gap,\nbest", "gap,\nlast", "gap\ngrows")
    note = "gap: train less dev, mean of the tasks, at the first, best and last epoch; 95 % of the best Dev Avg"
    return Sheet("dynamics", "training dynamics", heads, tuple(rows), (note,))


def _grows(of: Dynamics) -> Cell:
    if of.grew is None:
        return Cell(figures.NOTHING)
    return Cell(f"{figures.signed(of.grew.mean)} {_YES_NO[of.grows]}", of.grew.mean)


def _epochs(value: float | None) -> str:
    return figures.NOTHING if value is None else f"{value:.1f}".removesuffix(".0")


def spread_cell(of: Spread | None, write: Callable[[float | None], str], best: bool = False) -> Cell:
    """Return a figure's cell: the mean over the runs, and of several their standard deviation."""
    if of is None:
        return Cell(figures.NOTHING)
    text = write(of.mean)
    if of.sd is not None and write is not figures.seconds:
        text += f" ±{write(of.sd)}"
    return Cell(text, of.mean, best)


def _mean(of: Spread | None) -> Cell:
    return Cell(figures.NOTHING) if of is None else Cell(figures.score(of.mean), of.mean)


def _count(number: int) -> Cell:
    return Cell(str(number), number)


def _weights(number: int | None) -> Cell:
    return Cell(figures.count(number), number)


def _notes(result: Comparison) -> list[str]:
    said: dict[str, list[str]] = {}
    for one in result.groups:
        for record in one.records:
            for flag in flags(record):
                said.setdefault(flag.name, []).append(clean(record.run.name))
    everywhere = len(result.records)
    measured = [f"{flag} ({'all' if len(of) == everywhere else ', '.join(of)})" for flag, of in said.items()]
    rows = [row for each in result.against for row in each.metrics]
    notes = [f"measured under: {'; '.join(measured)}"] if measured else []
    if any(len(one.records) > 1 for one in result.groups):
        notes.append("±: standard deviation over the runs of a group (seeds)")
    if any(result.best.values()):
        notes.append("*: the best of its column and all that are not detectably behind it (95 %, uncorrected)")
    notes.append(_how(rows, len(result.metrics), len(result.groups)))
    if any(row.one_each for row in rows):
        notes.append(
            "One run each: the spread between seeds is not in these intervals; they are about these runs, "
            "not about the methods."
        )
    return notes


def _how(rows: Sequence[MetricDifference], metrics: int, groups: int) -> str:
    paired = any(row.paired for row in rows)
    by = "the dev examples" if rows and all(row.one_each for row in rows) else "seeds and dev examples"
    pairs = ", runs paired by seed" if paired else ""
    corrected = f"; verdicts are corrected (Holm) for {metrics} metrics" if metrics > 1 else ""
    others = ". Nothing is corrected for the number of groups" if groups > 2 else ""
    return f"Intervals: 95 %, bootstrap over {by}{pairs}{corrected}{others}."
