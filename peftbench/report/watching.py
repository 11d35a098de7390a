"""View of one run for a terminal of a given size: curves, progress, meters, notes, other runs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import set_cell_size
from rich.console import Console, Group
from rich.text import Text

from peftbench import formatting
from peftbench.analysis.flags import flags
from peftbench.analysis.machine_load import Others
from peftbench.jobs.liveness import state_shown
from peftbench.plot import BRAILLE, Chart, Glyphs, Range, Series, draw
from peftbench.plot.rich_lines import rich_lines, terminal_color
from peftbench.report.headlines import metrics_of
from peftbench.report.run_lines import meter_line, progress_line, state_line
from peftbench.report.tables import run_title
from peftbench.store.rows import Progress, Run, RunRecord, SampleRow
from peftbench.text import clean

_LOWEST_CHART = 6
_NOTES = 3
_OTHERS = 3
_IN_ASCII = {"–": "-", "…": "~", "━": "=", "─": "-", "°": " "}


def watch_view(
    record: RunRecord,
    progress: Progress | None,
    width: int,
    height: int,
    *,
    sample: SampleRow | None = None,
    busy: Others | None = None,
    others: Sequence[Run] = (),
    glyphs: Glyphs = BRAILLE,
    now_s: float | None = None,
) -> Group:
    """Return the view of a run, at most `width` cells wide and exactly `height` rows high (if a chart fits).

    Args:
        record: the run with its epochs.
        progress: its progress; None if unknown or the run has ended.
        width: width of the terminal in cells.
        height: height in rows.
        sample: the latest sample of its meters.
        busy: load of the machine by other processes.
        others: other runs to list below it.
        glyphs: `ASCII` makes the whole view ASCII, names included.
        now_s: Unix time, for elapsed times; None leaves them out.
    """
    above = _title(record.run, width, 2 if height >= 16 else 1)
    above += state_line(record, width, now_s)
    below = [*progress_line(record, progress, width, now_s, glyphs), *meter_line(sample, width, busy)]
    room = height - len(above) - len(below) - max(_LOWEST_CHART, height // 2)
    notes = _notes(record)[-max(min(_NOTES, room), 0) :] if room > 0 else []
    named = watch_table(others, width, min(_OTHERS, room - len(notes) - 1))
    below += [*notes, *named]
    rows = height - len(above) - len(below)
    chart = rich_lines(draw(curves(record, glyphs), width, rows, glyphs)) if rows > 0 else []
    lines = [*above, *chart, *below][:height]
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return Group(*([_in_ascii(line) for line in lines] if glyphs.letters else lines))


def watch_table(runs: Sequence[Run], width: int = 80, most: int = _OTHERS) -> list[Text]:
    """Return a heading and a line for each of at most `most` other runs; the heading counts the rest. May be empty."""
    if not runs or most < 1:
        return []
    left_out = len(runs) - most
    heading = Text(f"other runs{f' (and {left_out} more)' if left_out > 0 else ''}", style="dim")
    lines = []
    for run in runs[:most]:
        name = set_cell_size(clean(run.name), min(26, max(width - 36, 8)))
        score = f"  dev avg {formatting.score(run.dev_avg)}" if run.dev_avg is not None else ""
        lines.append(Text(f"{name} {state_shown(run):<9} epoch {run.epochs_done}/{run.epochs_planned}{score}"))
    return [heading, *lines]


def curves(record: RunRecord, glyphs: Glyphs = BRAILLE) -> Chart:
    """Return the chart of every task's metric by epoch: dev solid, train dashed, a colour and marker per task."""
    series = [_series(record, task, index) for index, task in enumerate(record.tasks)]
    train, dev = [pair[0] for pair in series], [pair[1] for pair in series]
    planned = max(record.run.epochs_planned, record.run.epochs_done, 1)
    dashed, solid = ("small", "capital") if glyphs.letters else (glyphs.dashed, glyphs.solid)
    return Chart(
        (*train, *dev),
        x=Range(1, planned) if planned > 1 else Range(0.5, 1.5),
        title=f"{metrics_of([record.run]) or 'scores'}: {solid} dev, {dashed} train",
        x_label="epoch",
        whole_x=True,
        legend_rows=2,
        empty="no epoch has finished yet",
    )


def _series(record: RunRecord, task: str, index: int) -> tuple[Series, Series]:
    """Return a task's train and dev curves; the legend entry of dev has the latest values of both."""
    points: dict[str, tuple[list[int], list[float | None]]] = {}
    for split in ("train", "dev"):
        scores = sorted((s for s in record.scores if s.task == task and s.split == split), key=lambda s: s.epoch)
        points[split] = [s.epoch for s in scores], [s.value for s in scores]
    latest = [formatting.score(ys[-1]) if ys else formatting.NOTHING for _, ys in (points["dev"], points["train"])]
    color = terminal_color(index)
    dev = Series(task, *points["dev"], color, marker=index, note="/".join(latest))
    return Series("", *points["train"], color, dashed=True, marker=index), dev


def _title(run: Run, width: int, most: int) -> list[Text]:
    lines = list(run_title(run).wrap(Console(width=width, color_system=None), width))
    return lines if len(lines) <= most else [*lines[: most - 1], Text(" ").join(lines[most - 1 :])]


def _notes(record: RunRecord) -> list[Text]:
    """Return notes by increasing importance: events, missing metrics, doubts about measurements."""
    lines = [Text(f"{clean(event.kind)}: {clean(event.message)}") for event in record.events if event.kind != "state"]
    lines += [
        Text(f"epoch {score.epoch}, {clean(score.task)} {clean(score.split)}: no {score.metric}: {clean(score.reason)}")
        for score in record.scores
        if score.value is None and score.epoch == record.run.epochs_done
    ]
    doubts = ", ".join(flag.name for flag in flags(record))
    return [*lines, Text(f"measured under: {doubts}", style="yellow")] if doubts else lines


def as_ascii(text: str) -> str:
    """Transliterate a text to ASCII one character at a time; unknown characters become question marks."""
    return "".join(c if c.isascii() else _IN_ASCII.get(c, "?") for c in text)


def _in_ascii(line: Text) -> Text:
    return Text(as_ascii(line.plain), style=line.style, no_wrap=True, spans=line.spans)
