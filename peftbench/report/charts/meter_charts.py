"""Small charts of meters over time: memory, power and clock of the GPU; without a GPU, of process and host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

from peftbench.plot import Chart, Range, Series
from peftbench.plot.decimate import known
from peftbench.report.charts.overlay import Pinned
from peftbench.store.meter_fields import SampleRow, meter_fields
from peftbench.store.rows import ACTIVE_STATES

SLOWED = "red"  # colour of intervals in which the GPU was throttled


@dataclass(frozen=True, slots=True)
class Strip:
    """One meter: name, unit, and its value in a sample (None: unknown)."""

    name: str
    unit: str
    value: Callable[[SampleRow], float | None]
    of_card: bool = True


@dataclass(frozen=True, slots=True)
class Sampled:
    """A run with the samples to draw."""

    of: Pinned
    samples: Sequence[SampleRow]


def _gib(mib: float | None) -> float | None:
    return None if mib is None else mib / 1024


def _strip(name: str, of_card: bool, value: Callable[[SampleRow], float | None] | None = None) -> Strip:
    """Return a meter field's strip, memory in GiB; `value` where it is another one than the field's."""
    field, read = meter_fields(SampleRow)[name], value or attrgetter(name)
    if field.unit == "MiB":
        return Strip(field.label, "GiB", lambda sample: _gib(read(sample)), of_card)
    return Strip(field.label, f"{field.unit} of {field.share_of}" if field.share_of else field.unit, read, of_card)


CARD_STRIPS = (
    _strip("process_vram_mib", True, lambda sample: sample.vram_mib),
    *(_strip(name, True) for name in ("power_w", "sm_clock_mhz")),
)
HOST_STRIPS = tuple(_strip(name, False) for name in ("rss_mib", "cpu_pct", "others_cpu_pct"))


def strips_for(runs: Iterable[Sampled]) -> tuple[Strip, ...]:
    """Return the GPU meters if any run was measured on a GPU, else the host meters."""
    seen = (sample for run in runs for sample in run.samples)
    return (
        CARD_STRIPS
        if any(sample.power_w is not None or sample.vram_mib is not None for sample in seen)
        else HOST_STRIPS
    )


def strip_chart(strip: Strip, runs: Sequence[Sampled], now_s: float, window_s: int | None) -> Chart:
    """Return a meter's chart over the seconds before now or, if all runs have ended, before the end of each.

    Throttled intervals are drawn over the curve in red. `window_s` None: the length of the longest run.
    """
    curves: list[Series] = []
    slowed: list[Series] = []
    latest: list[str] = []
    active = any(run.of.record.run.state in ACTIVE_STATES for run in runs)
    for run in runs:
        end_s = _end_s(run, now_s, active)
        xs = [sample.at_s - end_s for sample in run.samples]
        ys = [strip.value(sample) for sample in run.samples]
        name, color = run.of.record.run.name, run.of.color
        last = next((y for y in map(known, reversed(ys)) if y is not None), None)
        latest += [] if last is None else [_short(last)]
        curves.append(Series(name, *_ascending(xs, ys), color))
        if strip.of_card and any(sample.throttled for sample in run.samples):
            throttled = [y if s.throttled else None for y, s in zip(ys, run.samples, strict=True)]
            slowed.append(Series("", *_ascending(xs, throttled), SLOWED))
    shown = [curve for curve in curves if len(curve.xs)]
    oldest = min((curve.xs[0] for curve in shown), default=-60.0)
    return Chart(
        (*shown, *slowed),
        x=Range(max(-float(window_s or 1e12), min(oldest, -10.0)), 0.0),
        y=_from_zero(shown),
        title=f"{strip.name}, {strip.unit}{' (red: throttled)' if slowed else ''}: {' / '.join(latest)}".rstrip(": "),
        x_label="s" if active else "s before the end",
        whole_x=True,
        legend_rows=0,
        empty="not measured",
    )


def _short(value: float) -> str:
    """Format a value with no decimals from 100 on, else with three significant digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _end_s(run: Sampled, now_s: float, active: bool) -> float:
    """Return the time that is 0 on the axis: now if any run is active, else the run's last sample."""
    if active or not run.samples:
        return now_s
    return run.samples[-1].at_s


def _ascending(xs: list[float], ys: list[float | None]) -> tuple[list[float], list[float | None]]:
    """Return points sorted by time: the host's clock may have been set back."""
    if all(a <= b for a, b in pairwise(xs)):
        return xs, ys
    pairs = sorted(zip(xs, ys, strict=True), key=lambda pair: pair[0])
    return [x for x, _ in pairs], [y for _, y in pairs]


def _from_zero(curves: Sequence[Series]) -> Range | None:
    """Return a range from 0 to 10 % above the highest value, so that absolute levels are visible."""
    highest = max((y for curve in curves for y in map(known, curve.ys) if y is not None), default=0.0)
    return Range(0.0, highest * 1.1) if highest > 0 else Range(0.0, 1.0)
