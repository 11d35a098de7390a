"""Small charts of meters over time: of a GPU, or of process and host; of runs, or as this machine was read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import attrgetter

from peftbench.plot import BRAILLE, Chart, Glyphs, Range, Series
from peftbench.plot.cells import fit, printable, width
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
    """What to draw: the samples of a run (`of_run`), or of a GPU or the host as read without a run (no `slot`).

    `active`: more samples are to come, so that the last one is the current one.
    """

    name: str
    color: str
    samples: Sequence[SampleRow]
    active: bool = True
    slot: int | None = None

    @classmethod
    def of_run(cls, run: Pinned, samples: Sequence[SampleRow]) -> Sampled:
        """Return a run's samples in its colour."""
        return cls(run.record.run.name, run.color, samples, run.record.run.state in ACTIVE_STATES, run.slot)


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
    *(_strip(name, True) for name in ("power_w", "sm_clock_mhz", "temperature_c", "gpu_util_pct")),
)
HOST_STRIPS = tuple(_strip(name, False) for name in ("rss_mib", "cpu_pct", "others_cpu_pct"))
_ALL_MEMORY = _strip("device_used_mib", True)
_MACHINE_STRIPS = (
    replace(_strip("rss_mib", False), name="machine memory"),
    replace(_strip("cpu_pct", False), name="machine CPU", unit="%"),
)


def strips_for(runs: Iterable[Sampled]) -> tuple[Strip, ...]:
    """Return the strips of what was measured: of the GPU if anything was read of one, else of the host.

    Where the memory of the process on the GPU is not known, that of the GPU stands for it, under its own name.
    """
    of_all = list(runs)
    samples = [sample for run in of_all for sample in run.samples]
    if any(s.power_w is not None or s.vram_mib is not None or s.device_used_mib is not None for s in samples):
        vram, *others = CARD_STRIPS
        strips = (vram if any(s.vram_mib is not None for s in samples) else _ALL_MEMORY, *others)
    else:
        of_machine = bool(of_all) and all(run.slot is None for run in of_all)
        strips = _MACHINE_STRIPS if of_machine else HOST_STRIPS
    return tuple(strip for strip in strips if any(strip.value(sample) is not None for sample in samples))


def strip_chart(
    strip: Strip,
    runs: Sequence[Sampled],
    now_s: float,
    window_s: int | None,
    glyphs: Glyphs = BRAILLE,
    cells: int = 1000,
) -> Chart:
    """Return a meter's chart over the seconds before now or, if all runs have ended, before the end of each.

    Throttled intervals are drawn over the curve in red. The title has the last value of each run behind its marker, in
    brackets if the run has ended; what has no room is left out, the number of left-out values is told.

    Args:
        strip: the meter.
        runs: what to draw.
        now_s: Unix time.
        window_s: length of the time axis in seconds; None: the length of the longest run.
        glyphs: characters that the terminal can show.
        cells: room for the title.
    """
    curves: list[Series] = []
    slowed: list[Series] = []
    latest: list[str] = []
    active = any(run.active for run in runs)
    for run in runs:
        end_s = _end_s(run, now_s, active)
        xs = [sample.at_s - end_s for sample in run.samples]
        ys = [strip.value(sample) for sample in run.samples]
        last = next((y for y in map(known, reversed(ys)) if y is not None), None)
        latest += [] if last is None else [_latest(run, last, glyphs)]
        curves.append(Series(run.name, *_ascending(xs, ys), run.color))
        if strip.of_card and any(sample.throttled for sample in run.samples):
            throttled = [y if s.throttled else None for y, s in zip(ys, run.samples, strict=True)]
            slowed.append(Series("", *_ascending(xs, throttled), SLOWED))
    shown = [curve for curve in curves if len(curve.xs)]
    oldest = min((curve.xs[0] for curve in shown), default=-60.0)
    return Chart(
        (*shown, *slowed),
        x=Range(max(-float(window_s or 1e12), min(oldest, -10.0)), 0.0),
        y=_from_zero(shown),
        title=_title(f"{strip.name}, {strip.unit}", latest, bool(slowed), cells),
        x_label="s" if active else "s before the end",
        whole_x=True,
        legend_rows=0,
        empty="not measured",
    )


def _latest(run: Sampled, value: float, glyphs: Glyphs) -> str:
    sign = f"{printable(run.name)} " if run.slot is None else glyphs.marker(run.slot, dashed=False)
    return f"{sign}{_short(value)}" if run.active else f"{sign}({_short(value)})"


def _title(name: str, values: Sequence[str], slowed: bool, cells: int) -> str:
    note = ", red: throttled" if slowed else ""
    for kept in range(len(values), 0, -1):
        more = f" +{len(values) - kept}" if kept < len(values) else ""
        text = f"{name}: {' '.join(values[:kept])}{more}"
        if width(text + note) <= cells:
            return text + note
        if width(text) <= cells:
            return text
    return fit(name, cells)


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
