"""What runs cost, as tables: the study's Table 2, every phase, and the doubts about the figures."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from peftbench import formatting
from peftbench.analysis.cost import Cost, energy, reach
from peftbench.analysis.flags import flags, throttled
from peftbench.report.headlines import task_named
from peftbench.report.plain_table import plain_table
from peftbench.store.meter_fields import Usage, meter_fields
from peftbench.store.rows import Phase, RunRecord
from peftbench.text import clean

TASKS_A_TABLE = 3
_SLOWED_BY = {  # short enough for a column
    "hardware slowdown": "hw",
    "software thermal slowdown": "sw thermal",
    "hardware thermal slowdown": "hw thermal",
    "hardware power brake": "brake",
}
VRAM_BY = {
    "process": "VRAM: this process's in training, context included",
    "device": "VRAM: what the card's use grew by in training, context included",
    "reserved": "VRAM: what torch reserved in training, without the context",
}


def resources(records: Sequence[RunRecord], costs: Sequence[Cost]) -> RenderableType:
    """Return the columns of the study's Table 2 and ours: memory, it/s, watts, joules; a card's where one was read."""
    first = records[0].tasks[0]
    tasks = records[0].tasks if len(records) > 1 else records[0].tasks[:TASKS_A_TABLE]
    rates = plain_table(
        ("\nrun", *(f"{clean(task, 10)}\nit/s" for task in tasks), "\ntrain", "\nrun", "peak\nRSS MiB"),
        [
            (
                clean(record.run.name),
                *(formatting.rate(spent.its.get(task)) for task in tasks),
                formatting.seconds(spent.train_s),
                formatting.seconds(spent.run_s),
                formatting.mib(spent.peak_rss_mib),
            )
            for record, spent in zip(records, costs, strict=True)
        ],
    )
    if not any(spent.vram_mib is not None or spent.power_w for spent in costs):
        return rates
    name = clean(first, 10)
    heads = (
        "\nrun",
        "VRAM\nMiB",
        f"{name}\nit/s",
        f"{name}\nW",
        f"{name}\nJ/it",
        "J/1,000\nex.",
        "run\nWh",
        "net of\nidle",
    )
    card = plain_table(
        heads,
        [
            (
                clean(record.run.name),
                formatting.mib(spent.vram_mib),
                formatting.rate(spent.its.get(first)),
                formatting.watts(spent.power_w.get(first)),
                formatting.joules(spent.j_per_step.get(first)),
                formatting.joules(spent.j_per_1k_examples.get(first)),
                formatting.watt_hours(spent.run_wh),
                formatting.watt_hours(spent.net_wh),
            )
            for record, spent in zip(records, costs, strict=True)
        ],
    )
    notes = [VRAM_BY[spent.vram_source] for spent in costs if spent.vram_source is not None]
    notes += ["energy: power integrated, no counter" for spent in costs if spent.energy_source == "integrated"]
    return Group(rates, Text(""), card, *(Text(f"  {line}", style="dim") for line in dict.fromkeys(notes)))


def flag_lines(record: RunRecord) -> list[Text]:
    """Return why the figures of cost are not to be trusted blindly, one line each."""
    return [Text(f"  {flag.name}: {clean(flag.message)}", style="yellow") for flag in flags(record)]


def phases(record: RunRecord) -> Table:
    """Return every phase with what its meters saw. A dash is what could not be read; `--json` has why."""
    of_usage = meter_fields(Usage)
    vram = of_usage["process_vram_mib"]
    heads = ["\nepoch", "\nphase", "\ntask", "\nwall", "\nit/s", "step ms\np5-p95", f"{vram.label}\n{vram.unit}"]
    heads += [f"\n{of_usage[name].unit}" for name in ("power_w", "energy_j", "temperature_end_c")]
    slowed = [", ".join(_SLOWED_BY[reason] for reason in throttled(p.usage)) if p.usage else "" for p in record.phases]
    rows = [_phase(phase) for phase in record.phases]
    if any(slowed):
        heads.append("\nslowed by")
        rows = [(*row, reason) for row, reason in zip(rows, slowed, strict=True)]
    return plain_table(heads, rows, left=3)


def reached_line(record: RunRecord, target: float, task: str | None) -> Text:
    """Return what it took until dev first had a score."""
    what = f"{task_named(task, [record.run]) if task else 'Dev Avg'} {target:g} on dev"
    reached = reach(record, target, task)
    if reached is None:
        return Text(f"{what}: not reached in {record.run.epochs_done} epochs")
    spent = (
        f"{formatting.joules(reached.energy_j)} J of GPU energy"
        if reached.energy_j is not None
        else "GPU energy not known"
    )
    after = formatting.seconds(reached.seconds)
    return Text(f"{what}: epoch {reached.epoch} ({formatting.score(reached.value)}), after {after}, {spent}")


def _phase(phase: Phase) -> tuple[str, ...]:
    usage = phase.usage
    rate = phase.steps / phase.wall_s if phase.steps and phase.wall_s else None
    steps = [phase.step_ms_p5, phase.step_ms_p95]
    reading = energy(usage) if usage else None
    vram = (usage.process_vram_mib, usage.device_delta_mib) if usage else ()
    return (
        "" if phase.epoch is None else str(phase.epoch),
        f"{phase.phase} {clean(phase.split, 12)}" if phase.split and not phase.steps else phase.phase,
        clean(phase.task or "", 12),
        formatting.seconds(phase.wall_s),
        formatting.rate(rate) if phase.steps else "",
        "-".join(formatting.milliseconds(ms) for ms in steps) if phase.steps else "",
        formatting.mib(next((mib for mib in vram if mib is not None), None)),
        formatting.watts(usage.power_w if usage else None),
        formatting.joules(reading[0] if reading else None),
        formatting.mib(usage.temperature_end_c if usage else None),
    )
