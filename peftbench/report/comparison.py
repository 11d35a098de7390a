"""A comparison as a page: every table and sentence of `peftbench compare`, whatever the format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from peftbench import formatting
from peftbench.analysis.comparability import Mixed, SettingDifference
from peftbench.analysis.comparison import LEADERBOARD, Comparison
from peftbench.analysis.dynamics import Dynamics
from peftbench.analysis.flags import flags
from peftbench.analysis.groups import Group, Spread
from peftbench.analysis.rank_scale import scale_notes
from peftbench.analysis.scores import AVERAGES
from peftbench.analysis.stats.difference import MetricDifference
from peftbench.analysis.stats.folds import SOURCE
from peftbench.report.formats.terminal import Screen
from peftbench.report.headlines import metric_name, scored
from peftbench.report.page import Cell, Line, Page, Sheet, name
from peftbench.report.resources import VRAM_BY
from peftbench.report.verdict_table import verdict_sheet
from peftbench.report.verdicts import verdict
from peftbench.store.rows import ScoredSplit
from peftbench.text import clean

_YES_NO = {True: "yes", False: "no"}
MORE = "`peftbench compare --full` adds settings, resources, cost, training dynamics, and how intervals are computed."


def shown(result: Comparison) -> Screen:
    """Return a comparison as it is shown in a terminal, whatever its width."""
    return Screen(page(result))


def page(result: Comparison, full: bool = False, all_config: bool = False) -> Page:
    """Return a comparison as a page: the verdict table, the scores and what to be careful about.

    Args:
        result: the comparison.
        full: also verdicts as sentences, settings, resources, cost, training dynamics, and how intervals are computed.
        all_config: also the settings in which the groups do not differ; implies `full`.
    """
    return _full_page(result, all_config) if full or all_config else _brief_page(result)


def _brief_page(result: Comparison) -> Page:
    return Page(
        title=_title(result),
        warnings=tuple(unlike(result.groups, each) for each in result.confounding),
        verdicts=(),
        differences=(),
        sheets=(verdict_sheet(result), _quality(result, leaderboard=False)),
        notes=(
            *_marks_note(result),
            *_cautions(result),
            *scale_notes(result.groups),
            *_chosen_on(result),
            *_data_notes(result),
            MORE,
        ),
    )


def _title(result: Comparison) -> str:
    first = result.groups[0].first
    metrics = scored([record.run for record in result.records], result.metrics)
    return (
        f"workload {clean(first.workload)} ({clean(first.encoder)}); scores on {_split(result)}: {metrics}; "
        f"baseline {clean(result.groups[0].label)}"
    )


def _split(result: Comparison) -> str:
    """Say which split the scores are of, with its number of examples, and what it chose."""
    folds = result.groups[0].first.folds
    if folds is not None:
        return f"{result.split}, {folds}-fold cross-validation, {SOURCE}"
    if result.split == "dev":
        return "dev, best epoch"
    records = result.groups[0].records
    counts = {task: score.examples for task in records[0].tasks if (score := records[0].score(task, "test"))}
    if len(set(counts.values())) == 1:
        examples = f"{next(iter(counts.values())):,} examples{' a task' * (len(counts) > 1)}"
    else:
        examples = ", ".join(f"{clean(task)} {count:,}" for task, count in counts.items()) + " examples"
    return f"test ({examples}, untouched; dev chose the epoch)"


def _full_page(result: Comparison, all_config: bool) -> Page:
    irrelevant = [each.key for each in result.differences if each.standing == "irrelevant"]
    shown = result.settings if all_config else [each for each in result.differences if each.standing == "intended"]
    return Page(
        title=_title(result),
        warnings=tuple(unlike(result.groups, each) for each in result.confounding),
        verdicts=tuple(Line(verdict(result, each), strong=True) for each in result.against),
        differences=(Line(f"differs, but does no harm: {', '.join(map(clean, irrelevant))}"),) if irrelevant else (),
        sheets=(
            verdict_sheet(result),
            *((_settings(result.groups, shown),) if shown else ()),
            _quality(result),
            _resources(result),
            _costs(result),
            _dynamics(result),
        ),
        notes=tuple(_notes(result)),
    )


def unlike(groups: Sequence[Group], difference: SettingDifference) -> Line:
    """Return the line that names a confounding difference, with each one's value."""
    values = ", ".join(
        f"{clean(group.label)}: {_setting(value)}" for group, value in zip(groups, difference.values, strict=True)
    )
    return Line(f"not alike, {clean(difference.key)}: {values}", warning=True)


def _settings(groups: Sequence[Group], shown: Sequence[SettingDifference]) -> Sheet:
    rows = tuple(
        (name(clean(each.key)), *(Cell(_setting(value), _raw(value)) for value in each.values)) for each in shown
    )
    return Sheet("settings", "settings", ("setting", *(clean(group.label) for group in groups)), rows)


def _setting(value: Any) -> str:
    if isinstance(value, Mixed):
        return " / ".join(_setting(item) for item in value.values)
    if value is None:
        return formatting.NOTHING
    if isinstance(value, bool):
        return _YES_NO[value]
    return ", ".join(map(clean, value)) if isinstance(value, list | tuple) else clean(value)


def _raw(value: Any) -> float | int | str | None:
    return value if value is None or isinstance(value, float | int | str) else _setting(value)


def _quality(result: Comparison, leaderboard: bool = True) -> Sheet:
    tasks = result.groups[0].records[0].tasks
    chosen = [task for task in tasks if task in result.metrics]
    board = [LEADERBOARD] if leaderboard and any(LEADERBOARD in scores for scores in result.scores) else []
    overall = [key for key in AVERAGES.values() if key in result.metrics]
    overall += board if overall else []
    rows = []
    for index, (group, scores) in enumerate(zip(result.groups, result.scores, strict=True)):
        cells = [
            spread_cell(scores.get(key), formatting.score, index in result.best.get(key, ()))
            for key in (*chosen, *overall)
        ]
        rows.append(
            (name(clean(group.label)), _count(len(group.records)), *cells, _weights(group.first.weights_trainable))
        )
    heads = ("group", "runs", *(metric_name(task) for task in chosen), *map(metric_name, overall), "trained")
    return Sheet("quality", "quality", heads, tuple(rows))


def _resources(result: Comparison) -> Sheet:
    tasks = result.groups[0].records[0].tasks
    columns: list[tuple[str, str, Callable[[float | None], str]]] = [
        ("peak_rss_mib", "peak\nRSS MiB", formatting.mib),
        ("vram_mib", "VRAM\nMiB", formatting.mib),
        ("power_w", "\nW", formatting.watts),
        ("j_per_1k_examples", "J/1,000\nex.", formatting.joules),
    ]
    shown = [each for each in columns if any(spent.figures[each[0]] for spent in result.spendings)]
    rows = [
        (
            name(clean(group.label)),
            *(spread_cell(spent.its.get(task), formatting.rate) for task in tasks),
            *(spread_cell(spent.figures[key], write, index in result.best[key]) for key, _, write in shown),
        )
        for index, (group, spent) in enumerate(zip(result.groups, result.spendings, strict=True))
    ]
    heads = ("\ngroup", *(f"{clean(task, 10)}\nit/s" for task in tasks), *(head for _, head, _ in shown))
    return Sheet("resources", "resources", heads, tuple(rows), tuple(_verdict_lines(result)))


def _verdict_lines(result: Comparison) -> list[str]:
    """Say how VRAM and energy were read, and what was not."""
    costs = [run_cost for spent in result.spendings for run_cost in spent.costs]
    lines = [VRAM_BY[run_cost.vram_source] for run_cost in costs if run_cost.vram_source is not None]
    lines += ["energy: power integrated, no counter" for run_cost in costs if run_cost.energy_source == "integrated"]
    missing = [
        word
        for word, key in (("VRAM", "vram_mib"), ("power", "power_w"), ("energy", "run_wh"))
        if not any(spent.figures[key] for spent in result.spendings)
    ]
    return [*dict.fromkeys(lines), *([f"not measured here: {', '.join(missing)}"] if missing else [])]


def _costs(result: Comparison) -> Sheet:
    columns: list[tuple[str, str, Callable[[float | None], str]]] = [
        ("train_s", "train", formatting.seconds),
        ("eval_s", "eval", formatting.seconds),
        ("run_s", "whole run", formatting.seconds),
        ("run_wh", "run Wh", formatting.watt_hours),
    ]
    shown = [each for each in columns if any(spent.figures[each[0]] for spent in result.spendings)]
    ratios = [None, *({cost.figure: cost for cost in each.costs} for each in result.against)]
    rows = []
    for index, (group, spent, ratio) in enumerate(zip(result.groups, result.spendings, ratios, strict=True)):
        cells = [name(clean(group.label))]
        for key, _, write in shown:
            cells.append(spread_cell(spent.figures[key], write, index in result.best[key]))
            difference = ratio.get(key) if ratio else None
            cells.append(Cell(formatting.share(difference.ratio), difference.ratio) if difference else Cell(""))
        rows.append(tuple(cells))
    heads = ("group", *(head for _, label, _ in shown for head in (label, "to base")))
    return Sheet("cost", "cost", heads, tuple(rows))


def _dynamics(result: Comparison) -> Sheet:
    rows = [
        (
            name(clean(group.label)),
            Cell(
                f"{formatting.ranged(of.best_epochs)} of {formatting.ranged(of.epochs)}",
                formatting.ranged(of.best_epochs),
            ),
            spread_cell(of.to_nearly, _epochs),
            _mean(of.gap_first),
            spread_cell(of.gap_best, formatting.score),
            _mean(of.gap_last),
            _grows(of),
        )
        for group, of in zip(result.groups, result.dynamics, strict=True)
    ]
    heads = ("\ngroup", "best\nepoch", "epochs to\n95 %", "gap,\nfirst", "gap,\nbest", "gap,\nlast", "gap\ngrows")
    note = "gap: train less dev, mean of the tasks, at the first, best and last epoch; 95 % of the best Dev Avg"
    return Sheet("dynamics", "training dynamics", heads, tuple(rows), (note,))


def _grows(of: Dynamics) -> Cell:
    if of.grew is None:
        return Cell(formatting.NOTHING)
    return Cell(f"{formatting.signed(of.grew.mean)} {_YES_NO[of.grows]}", of.grew.mean)


def _epochs(value: float | None) -> str:
    return formatting.NOTHING if value is None else f"{value:.1f}".removesuffix(".0")


def spread_cell(of: Spread | None, write: Callable[[float | None], str], best: bool = False) -> Cell:
    """Return a figure's cell: the mean over the runs, and of several their standard deviation."""
    if of is None:
        return Cell(formatting.NOTHING)
    text = write(of.mean)
    if of.sd is not None and write is not formatting.seconds:
        text += f" ±{write(of.sd)}"
    return Cell(text, of.mean, best)


def _mean(of: Spread | None) -> Cell:
    return Cell(formatting.NOTHING) if of is None else Cell(formatting.score(of.mean), of.mean)


def _count(number: int) -> Cell:
    return Cell(str(number), number)


def _weights(number: int | None) -> Cell:
    return Cell(formatting.count(number), number)


def _notes(result: Comparison) -> list[str]:
    flagged: dict[str, list[str]] = {}
    for group in result.groups:
        for record in group.records:
            for flag in flags(record):
                flagged.setdefault(flag.name, []).append(clean(record.run.name))
    everywhere = len(result.records)
    measured = [f"{flag} ({'all' if len(of) == everywhere else ', '.join(of)})" for flag, of in flagged.items()]
    rows = [row for each in result.against for row in each.metrics]
    notes = [f"measured under: {'; '.join(measured)}"] if measured else []
    notes += _data_notes(result)
    if any(len(group.records) > 1 for group in result.groups):
        over = "over its folds" if result.groups[0].first.folds is not None else "over the runs of a group (seeds)"
        notes.append(f"±: standard deviation {over}")
    notes += _marks_note(result)
    notes.append(_how(rows, len(result.metrics), len(result.groups), result.split))
    return [*notes, *scale_notes(result.groups), *_chosen_on(result), *_cautions(result)]


def _cautions(result: Comparison) -> list[str]:
    """Return what single runs and lacking folds leave unknown, said once for the whole comparison."""
    rows = [row for each in result.against for row in each.metrics]
    if result.groups[0].first.folds is not None:
        return _lacking_folds(result)
    if rows and all(row.one_each for row in rows):
        return [
            "One run each: the spread between seeds is not in these intervals; they are about these runs, "
            "not about the methods."
        ]
    if any(row.of_these_runs for row in rows):
        alone = [group.label for group in result.groups if len(group.records) == 1]
        return [
            f"One run: {', '.join(map(clean, alone))}. How far its seeds spread is unknown: intervals and verdicts "
            "with it are about these runs, not about the methods; two seeds or more on each side would tell."
        ]
    return []


def _lacking_folds(result: Comparison) -> list[str]:
    """Say which folds were left out of a verdict because a side lacks them."""
    lines = []
    for each in result.against:
        left_out = {row.folds.lacking: row.folds.k for row in each.metrics if row.folds is not None}
        lines += [
            f"{clean(each.group.label)}: {k - len(lacking)} of {k} folds are compared; not run on both sides: fold "
            f"{', '.join(str(fold + 1) for fold in lacking)} (split.fold={', '.join(map(str, lacking))})."
            for lacking, k in left_out.items()
            if lacking
        ]
    return lines


def _chosen_on(result: Comparison) -> list[str]:
    """Say that the examples that are compared chose the epoch too, and where some runs had more epochs to choose from.

    The best of several noisy scores is too high: by 0.012 of 10 epochs that are alike, on 300 examples.
    """
    epochs = [of.epochs for of in result.dynamics]
    if result.split == "test":
        return []
    if max(map(max, epochs)) < 2:
        return []
    message = f"Dev also chose the epoch (best of {formatting.ranged(sorted({n for of in epochs for n in of}))})"
    if len({n for of in epochs for n in of}) == 1:
        return [f"{message}: each score is a little too high, as the best of several is."]
    each = ", ".join(
        f"{clean(group.label)} {formatting.ranged(of)}" for group, of in zip(result.groups, epochs, strict=True)
    )
    return [
        f"{message}: scores are too high, the more so the more epochs there were ({each}); "
        "the difference leans to the side with more."
    ]


def _marks_note(result: Comparison) -> list[str]:
    if not any(result.best.values()):
        return []
    others = "; pairs of groups without a verdict here are corrected (Holm) for their number"
    note = "*: the best mean of its column and all that no verdict tells from it"
    return [note + others * (len(result.groups) > 2)]


def _data_notes(result: Comparison) -> list[str]:
    """Return a line for each doubt about the data that runs have recorded, and the runs where not all have it.

    Of folds, which are not of the same examples, that of the run with most examples in doubt.
    """
    notes: dict[str, list[str]] = {}
    of_folds: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for record in result.records:
        recorded = record.run.conditions.get("data_notes")
        for note in recorded if isinstance(recorded, list) else ():
            if isinstance(note, dict) and note.get("task") in result.metrics:
                line = f"data: {clean(note['task'])}: {clean(note.get('message'), 200)}"
                if record.run.folds is None:
                    notes.setdefault(line, []).append(clean(record.run.name))
                else:
                    of_folds.setdefault((note["task"], note.get("name", "")), []).append((note["examples"], line))
    everywhere = len(result.records)
    lines = [line if len(of) == everywhere else f"{line} ({', '.join(of)})" for line, of in notes.items()]
    return [*lines, *(f"{max(of)[1]} (the most; in {len(of)} of {everywhere} runs)" for of in of_folds.values())]


def _how(rows: Sequence[MetricDifference], metrics: int, groups: int, split: ScoredSplit) -> str:
    if any(row.folds is not None for row in rows):
        return _how_of_folds(metrics, groups)
    paired = any(row.paired for row in rows)
    by = f"paired bootstrap over the {split} examples"
    if not (rows and all(row.of_these_runs for row in rows)):
        by = f"Student's t over seeds{' (paired)' if paired else ''} and {by}"
    clusters = {row.name: row.clusters for row in rows if row.clusters and row.name not in AVERAGES.values()}
    if clusters:
        by += f", whole clusters of them ({', '.join(f'{metric_name(name)} {n}' for name, n in clusters.items())})"
    return f"Intervals: 95 %, {by}{_corrected(metrics, groups)}."


def _how_of_folds(metrics: int, groups: int) -> str:
    by = "Student's t over the folds' differences, each the mean of its seeds, with variance (1/k + test/train) S2"
    return f"Intervals: 95 %, {by}, {SOURCE}{_corrected(metrics, groups)}."


def _corrected(metrics: int, groups: int) -> str:
    """Say what the number of metrics and groups corrects."""
    corrected = f"; verdicts, and what could have been shown, are corrected (Holm) for {metrics} metrics"
    others = ". No verdict is corrected for the number of groups" if groups > 2 else ""
    return f"{corrected if metrics > 1 else ''}{others}"
