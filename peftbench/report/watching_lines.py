"""The lines around a watched run's chart: its state, its progress, its meters. Each is cut field by field to fit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.text import Text

from peftbench.jobs.liveness import state_shown
from peftbench.plot import Glyphs
from peftbench.report import figures
from peftbench.report.tables import STATE_STYLE
from peftbench.store.rows import ACTIVE_STATES, THROTTLING, Progress, RunRecord, SampleRow, reasons
from peftbench.text import clean

Field = tuple[str, str]  # a text and its style
QUIET_S = 10.0  # without a word from a run; from then on it is said
_BAR = (10, 24)  # cells, at least and at most
_COUNTED = {"train": "", "idle": " s"}


def state_line(record: RunRecord, width: int, now_s: float | None) -> list[Text]:
    """Return the run's state, how long it has gone on, and its scores; of a run that went wrong the reason too."""
    run, state = record.run, state_shown(record.run)
    best = f"best {figures.score(run.dev_avg)} (epoch {run.best_epoch})" if run.best_epoch else ""
    latest = f"dev avg {figures.score(record.epochs[-1].dev_avg)}" if record.epochs else ""
    trained = f"{figures.count(run.weights_trainable)} weights trained" if run.weights_trainable is not None else ""
    fields = [
        (state, STATE_STYLE.get(state, "")),
        (_gone_on(record, now_s), ""),
        (f"epoch {run.epochs_done}/{run.epochs_planned} done", ""),
        (latest, ""),
        (best, "bold"),
        (trained, "dim"),
    ]
    lines = [_joined(fields, width)]
    return [*lines, Text(clean(run.reason), style="red")] if run.reason else lines


def progress_line(
    record: RunRecord, progress: Progress | None, width: int, now_s: float | None, glyphs: Glyphs
) -> list[Text]:
    """Return what a run that goes on is at: phase, bar, pace, share of the whole, time left."""
    state = state_shown(record.run)
    if progress is not None and state not in ACTIVE_STATES:
        return []  # its worker is gone: what it said last is no more
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
        (f"no word for {figures.seconds(quiet_s)}" if quiet_s > QUIET_S else "", "yellow"),
        (f"{figures.rate(progress.its)} it/s" if progress.its is not None else "", ""),
        (f"all {100 * progress.done // progress.total} %" if progress.total else "", ""),
        (f"{figures.seconds(left_s)} left" if left_s is not None else "", "bold"),
    ]
    line = _joined(fields, width - _BAR[0] - 2)
    room = min(width - line.cell_len - 2, _BAR[1])
    return [Text.assemble(_bar(progress, max(room, 0), glyphs), "  ", line)]


def meter_line(sample: SampleRow | None, width: int) -> list[Text]:
    """Return what the meters saw last: of the card where one is read, of the process always."""
    if sample is None:
        return []
    vram = sample.vram_mib
    slowed = ", ".join(reasons((sample.event_reasons or 0) & THROTTLING))
    fields = [
        (_measured("VRAM", figures.mib(vram), "MiB", vram), ""),
        (_measured("card", figures.mib(sample.device_used_mib), "MiB", sample.device_used_mib), ""),
        (_measured("", figures.watts(sample.power_w), "W", sample.power_w), ""),
        (f"slowed: {slowed}" if slowed else "", "yellow"),
        (_measured("SM", figures.mib(sample.sm_clock_mhz), "MHz", sample.sm_clock_mhz), ""),
        (_measured("", figures.mib(sample.temperature_c), "°C", sample.temperature_c), ""),
        (_measured("GPU", figures.mib(sample.gpu_util_pct), "%", sample.gpu_util_pct), ""),
        (_measured("run", figures.joules(sample.energy_j), "J", sample.energy_j), ""),
        (_measured("RSS", figures.mib(sample.rss_mib), "MiB", sample.rss_mib), ""),
        (_measured("CPU", figures.mib(sample.cpu_pct), "%", sample.cpu_pct), ""),
        (_measured("others", figures.mib(sample.others_cpu_pct), "%", sample.others_cpu_pct), ""),
    ]
    line = _joined(fields, width)
    return [line] if line.plain else []


def time_left_s(record: RunRecord, progress: Progress) -> float | None:
    """Return about how many seconds a run still takes: by its finished epochs, before that by its pace; or None."""
    if not progress.total:
        return None
    ended = {epoch.epoch for epoch in record.epochs}
    phases = [phase for phase in record.phases if phase.epoch in ended]
    steps = sum(phase.steps or 0 for phase in phases if phase.phase in ("warmup", "train"))
    left = progress.total - progress.done
    if steps:
        return left * sum(phase.wall_s for phase in phases) / steps
    return left / progress.its if progress.its else None


def _gone_on(record: RunRecord, now_s: float | None) -> str:
    run = record.run
    if run.started_at is None or (run.finished_at is None and now_s is None):
        return ""
    until = _unix(run.finished_at) if run.finished_at is not None else now_s or 0.0
    return figures.seconds(max(until - _unix(run.started_at), 0.0))


def _bar(progress: Progress, cells: int, glyphs: Glyphs) -> Text:
    done, rest = ("#", "-") if glyphs.letters else ("━", "─")
    full = min(cells * progress.step // progress.steps, cells) if progress.steps else 0
    return Text.assemble((done * full, "green"), (rest * (cells - full), "dim"))


def _measured(name: str, figure: str, unit: str, value: float | None) -> str:
    """Return a figure with its name and unit; nothing where it is not known."""
    return "" if value is None else f"{name} {figure} {unit}".strip()


def _joined(fields: Sequence[Field], width: int) -> Text:
    """Return the fields that have something to say, as many as have room; the first one always."""
    line = Text()
    for text, style in fields:
        if text and (not line.plain or line.cell_len + 2 + Text(text).cell_len <= width):
            line.append("  " if line.plain else "").append(text, style)
    return line


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
