"""Lines about a running run, for `watch` and the dashboard: state, progress, meters. What has no room is left out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.text import Text

from peftbench import formatting
from peftbench.analysis.machine_load import Others
from peftbench.analysis.time_left import time_left_s
from peftbench.jobs.liveness import state_shown
from peftbench.plot import Glyphs
from peftbench.report.tables import STATE_STYLE
from peftbench.store.meter_fields import THROTTLING, SampleRow, meter_fields, reasons
from peftbench.store.rows import ACTIVE_STATES, Progress, RunRecord
from peftbench.text import clean

Field = tuple[str, str]  # a text and its style
QUIET_S = 10.0  # age of the last progress from which it is shown
_WIDE = 116  # width in cells from which the long form of `busy_words` fits
_BAR = (10, 24)  # minimum and maximum width in cells
_LESS_URGENT = ("sm_clock_mhz", "temperature_c", "gpu_util_pct", "energy_j", "rss_mib", "cpu_pct")
_COUNTED = {"train": "", "idle": " s"}


def state_line(record: RunRecord, width: int, now_s: float | None) -> list[Text]:
    """Return the run's state, elapsed time and scores, and a second line with the reason if there is one."""
    run, state = record.run, state_shown(record.run)
    best = f"best {formatting.score(run.dev_avg)} (epoch {run.best_epoch})" if run.best_epoch else ""
    latest = f"dev avg {formatting.score(record.epochs[-1].dev_avg)}" if record.epochs else ""
    trained = f"{formatting.count(run.weights_trainable)} weights trained" if run.weights_trainable is not None else ""
    fields = [
        (state, STATE_STYLE.get(state, "")),
        (_elapsed(record, now_s), ""),
        (f"epoch {run.epochs_done}/{run.epochs_planned} done", ""),
        (latest, ""),
        (best, "bold"),
        (trained, "dim"),
    ]
    lines = [_joined(fields, width)]
    return [*lines, Text(clean(run.reason), style="red")] if run.reason else lines


def progress_line(
    record: RunRecord,
    progress: Progress | None,
    width: int,
    now_s: float | None,
    glyphs: Glyphs,
    others: Others | None = None,
) -> list[Text]:
    """Return an active run's progress: bar, phase, steps, it/s, percentage, time left, load by other processes."""
    state = state_shown(record.run)
    if progress is not None and state not in ACTIVE_STATES:
        return []  # the worker is gone: its last progress is obsolete
    if progress is None:
        waiting = {"running": "loading data and model", "starting": "waiting for its worker"}
        return [Text(waiting[state])] if state in waiting else []
    quiet_s = now_s - _unix(progress.at) if now_s is not None else 0.0
    what = clean(progress.phase)
    unit = _COUNTED.get(progress.phase, " examples")
    left_s = time_left_s(record, progress)
    fields = [
        (f"{what} {clean(progress.task, 16)}" if progress.task else what, ""),
        (f"{progress.step:,}/{progress.steps:,}{unit}", ""),
        (f"no progress for {formatting.seconds(quiet_s)}" if quiet_s > QUIET_S else "", "yellow"),
        (f"{formatting.rate(progress.its)} it/s" if progress.its is not None else "", ""),
        (f"all {100 * progress.done // progress.total} %" if progress.total else "", ""),
        (f"{formatting.seconds(left_s)} left" if left_s is not None else "", "bold"),
        (busy_words(others, short=width < _WIDE), "yellow"),
    ]
    line = _joined(fields, width - _BAR[0] - 2)
    room = min(width - line.cell_len - 2, _BAR[1])
    return [Text.assemble(_bar(progress, max(room, 0), glyphs), "  ", line)]


def meter_line(sample: SampleRow | None, width: int, others: Others | None = None) -> list[Text]:
    """Return the latest meter readings: of the GPU if there is one, of the process, and load by other processes."""
    if sample is None:
        return []
    busy = busy_words(others)
    throttled = ", ".join(reasons((sample.event_reasons or 0) & THROTTLING))
    fields = [
        (_measured("process_vram_mib", sample.vram_mib), ""),
        *((_measured(name, getattr(sample, name)), "") for name in ("device_used_mib", "power_w")),
        (f"throttled: {throttled}" if throttled else "", "yellow"),
        (busy, "yellow"),
        *((_measured(name, getattr(sample, name)), "") for name in _LESS_URGENT),
        ("" if busy else _measured("others_cpu_pct", sample.others_cpu_pct), ""),
    ]
    line = _joined(fields, width)
    return [line] if line.plain else []


def busy_words(others: Others | None, short: bool = False) -> str:
    """Return a notice that other processes load the machine, or an empty string."""
    if others is None or others.busy_cores is None:
        return ""
    if short:
        return f"busy: others use {others.busy_cores:.1f} cores"
    return f"the machine is busy: others use {others.busy_cores:.1f} of {others.cores} cores"


def _elapsed(record: RunRecord, now_s: float | None) -> str:
    run = record.run
    if run.started_at is None or (run.finished_at is None and now_s is None):
        return ""
    until = _unix(run.finished_at) if run.finished_at is not None else now_s or 0.0
    return formatting.seconds(max(until - _unix(run.started_at), 0.0))


def _bar(progress: Progress, cells: int, glyphs: Glyphs) -> Text:
    done, rest = ("#", "-") if glyphs.letters else ("━", "─")
    full = min(cells * progress.step // progress.steps, cells) if progress.steps else 0
    return Text.assemble((done * full, "green"), (rest * (cells - full), "dim"))


def _measured(name: str, value: float | None) -> str:
    """Return a meter field's value with its label and unit, or an empty string if it is unknown."""
    field = meter_fields(SampleRow)[name]
    return "" if value is None else f"{field.short} {formatting.measured(value, field.unit)} {field.unit}".strip()


def _joined(fields: Sequence[Field], width: int) -> Text:
    """Join the non-empty fields that fit the width; the first one is always included."""
    line = Text()
    for text, style in fields:
        if text and (not line.plain or line.cell_len + 2 + Text(text).cell_len <= width):
            line.append("  " if line.plain else "").append(text, style)
    return line


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
