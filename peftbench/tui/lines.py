"""The dashboard's text lines: header, GPUs, the selected run. Pure functions; lines are truncated to the width."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from peftbench import formatting
from peftbench.analysis.machine_load import others_now
from peftbench.plot import Glyphs
from peftbench.plot.cells import fit, printable, width
from peftbench.report.headlines import metrics_of
from peftbench.report.run_lines import progress_line, state_line
from peftbench.report.tables import STATE_STYLE
from peftbench.store.meter_fields import EVENT_REASONS, THROTTLING, SampleRow, meter_fields, reasons
from peftbench.store.rows import State
from peftbench.tui.machine import CardNow, Machine
from peftbench.tui.state import DashboardState, Detail, RunLine

_BAR = 12
_POWER_CAP = next(bit for bit, reason in EVENT_REASONS.items() if reason == "software power cap")
_SAMPLES = 60  # latest samples used to tell whether the machine is busy
_STATES: tuple[State, ...] = (
    "running",
    "stalled",
    "stopping",
    "starting",
    "queued",
    "finished",
    "stopped",
    "failed",
    "lost",
)


def header(snapshot: DashboardState, database: Path, cells: int, showing: str = "", doing: str = "") -> Text:
    """Return the header: database, what is being done, number of runs per state, machine."""
    counted = Counter(line.state for line in snapshot.lines)
    fields: list[tuple[str, str]] = [("peftbench", "bold"), (fit(printable(database.name), 24), "")]
    if showing:
        fields.append((printable(showing), "bold reverse"))
    if doing:
        fields.append((fit(printable(doing), 40), "bold yellow"))
    fields += [
        (f"{counted[state]} {state}", STATE_STYLE.get(state, "green" if state == "running" else ""))
        for state in _STATES
        if counted[state]
    ]
    left = _joined(fields, cells)
    right = fit(machine_name(snapshot.machine), max(cells - left.cell_len - 2, 0))
    return left.append(" " * (cells - left.cell_len - width(right))).append(right, "dim") if right else left


def machine_name(machine: Machine) -> str:
    """Return the name of the hardware: the GPUs by NVML name, else the number of CPU cores."""
    if machine.cards:
        first = machine.cards[0]
        more = f" +{len(machine.cards) - 1}" if len(machine.cards) > 1 else ""
        return f"GPU{first.index} {fit(printable(first.name), 24)}{more}, NVML"
    return f"CPU, {machine.cores} cores, no GPU" if machine.cores else ""


def machine_lines(machine: Machine, cells: int, most: int, glyphs: Glyphs, first: int = 0) -> list[Text]:
    """Return a line of gauges for each GPU, at most `most` lines; without a GPU, one line for the host.

    Args:
        machine: the last reading.
        cells: the width.
        most: maximum number of lines; the last one says how many GPUs have none, and the key that shows them.
        glyphs: characters that the terminal can show.
        first: place of the GPU that comes first; the others follow in a circle.
    """
    if not machine.cards:
        return [_host_line(machine, cells, glyphs)] if machine.cores else []
    cards = machine.cards[first:] + machine.cards[:first]
    left_out = max(len(cards) - most, 0)
    more = f"  g: +{left_out} GPU{'s' * (left_out > 1)}" if left_out else ""
    lines = [
        _card_line(card, cells - len(more) * (place == most - 1), glyphs) for place, card in enumerate(cards[:most])
    ]
    if more and lines:
        lines[-1].append(more, "dim")
    return [_cut(line, cells) for line in lines]


def run_lines(detail: Detail | None, line: RunLine | None, cells: int, now_s: float, glyphs: Glyphs) -> list[Text]:
    """Return two lines on the selected run: state and scores; progress, or the state's details or cost."""
    if line is None:
        return []
    name = Text(fit(printable(line.run.name), 30), style="bold")
    if detail is None:
        return [name, Text("")]
    others = others_now(detail.samples[-_SAMPLES:], detail.record.run.conditions)
    state_texts = state_line(detail.record, cells - name.cell_len - 2, now_s)
    first = Text.assemble(name, "  ", state_texts[0])
    scores = printable(metrics_of([line.run]))
    if line.run.epochs_done and first.cell_len + 2 + width(scores) <= cells:
        first.append("  ").append(scores, "dim")
    second = [
        *progress_line(detail.record, detail.progress, cells, now_s, glyphs, others),
        *state_texts[1:],
        *_cost_line(detail, cells),
    ]
    return [_cut(first, cells), _cut(second[0], cells) if second else Text("")]


def bar(share: float, cells: int, glyphs: Glyphs) -> Text:
    """Return a bar filled to a fraction (clipped to 0..1)."""
    done, rest = ("#", "-") if glyphs.letters else ("█", "░")
    full = round(min(max(share, 0.0), 1.0) * cells)
    return Text.assemble(done * full, (rest * (cells - full), "dim"))


def _cost_line(detail: Detail, cells: int) -> list[Text]:
    from peftbench.analysis.cost import cost

    spent = cost(detail.record)
    first = next(iter(spent.its), None)
    fields = [
        (f"run {formatting.seconds(spent.run_s)}" if spent.run_s is not None else "", ""),
        (f"{printable(first)} {formatting.rate(spent.its[first])} it/s" if first else "", ""),
        (f"VRAM {formatting.mib(spent.vram_mib)} MiB" if spent.vram_mib is not None else "", ""),
        (f"RSS {formatting.mib(spent.peak_rss_mib)} MiB" if spent.peak_rss_mib is not None else "", ""),
        (
            f"{formatting.joules(spent.j_per_1k_examples[first])} J/1,000 examples"
            if first in spent.j_per_1k_examples
            else "",
            "",
        ),
        (f"{formatting.watt_hours(spent.run_wh)} Wh" if spent.run_wh is not None else "", ""),
    ]
    line = _joined([("cost", "dim"), *fields], cells)
    return [line] if any(text for text, _ in fields) else []


def _card_line(card: CardNow, cells: int, glyphs: Glyphs) -> Text:
    """Return a GPU's gauges and figures, the most needed first: clocks beside what limits them."""
    narrow = cells < 100
    parts = [
        _gauge("mem", card.used_mib, card.total_mib, "MiB", glyphs, narrow),
        _gauge("pow", card.power_w, card.limit_w, "W", glyphs, narrow),
        _figure("sm_clock_mhz", card.sm_clock_mhz),
        _limits(card.event_reasons, narrow),
        _figure("temperature_c", card.temperature_c),
        _figure("gpu_util_pct", card.util_pct, "util"),
        _figure("mem_clock_mhz", card.mem_clock_mhz),
    ]
    line = Text.assemble((f"GPU{card.index} ", "bold"))
    if all(not part.plain for part in parts):
        return line.append("no readings", "bold red")
    for part in parts:
        if part.plain and line.cell_len + 2 + part.cell_len <= cells:
            line.append("" if line.plain.endswith(" ") else "  ").append_text(part)
    return line


def _limits(bits: int | None, narrow: bool) -> Text:
    """Return what limits the clocks: throttling, or the power cap, which is usual at full load."""
    if bits is None:
        return Text("")
    throttled = reasons(bits & THROTTLING)
    if throttled:
        return Text("throttled" if narrow else f"throttled: {', '.join(throttled)}", "bold yellow")
    if bits & _POWER_CAP:
        return Text("at power cap", "yellow")
    return Text("not throttled", "dim")


def _figure(name: str, value: float | None, label: str | None = None) -> Text:
    """Return a meter field's value with its unit and its short label, or another one."""
    field = meter_fields(SampleRow)[name]
    return Text("" if value is None else f"{field.short if label is None else label} {value:.0f} {field.unit}".strip())


def _host_line(machine: Machine, cells: int, glyphs: Glyphs) -> Text:
    line = Text.assemble(("CPU ", "bold"))
    line.append_text(_gauge("use", machine.cpu_pct, 100.0, "%", glyphs, cells < 100))
    line.append("  ").append_text(
        _gauge("mem", machine.memory_used_mib, machine.memory_total_mib, "MiB", glyphs, cells < 100)
    )
    note = f"  no GPU readings: {printable(machine.why_none)}" if machine.why_none else ""
    return _cut(line.append(note, "dim"), cells)


def _gauge(name: str, value: float | None, total: float | None, unit: str, glyphs: Glyphs, narrow: bool) -> Text:
    if value is None:
        return Text("")
    if unit == "MiB":
        value, total, unit = value / 1024, None if total is None else total / 1024, "GiB"
    digits = 1 if unit == "GiB" else 0
    text = f"{value:.{digits}f}{f'/{total:.{digits}f}' if total and unit != '%' else ''} {unit}"
    if not total:
        return Text(f"{name} {text}")
    return Text.assemble(f"{name} ", bar(value / total, _BAR // 2 if narrow else _BAR, glyphs), f" {text}")


def _joined(fields: Sequence[tuple[str, str]], cells: int) -> Text:
    line = Text(no_wrap=True)
    for text, style in fields:
        if text and (not line.plain or line.cell_len + 2 + width(text) <= cells):
            line.append("  " if line.plain else "").append(text, style)
    return _cut(line, cells)


def _cut(line: Text, cells: int) -> Text:
    line.no_wrap = True
    line.truncate(max(cells, 0), overflow="ellipsis")
    return line
