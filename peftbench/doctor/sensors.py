"""The cards' sensors over time: how often they really change, the energy counter held against them, the noise at rest.

All cards are watched at the same time, once, when the first of the checks is made.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from peftbench.doctor.findings import Check, Finding, fail, ok, skip, warn
from peftbench.doctor.gpu import XID, unread
from peftbench.doctor.options import Options
from peftbench.meters.readings import Meter, Sample
from peftbench.meters.sampler import Sampler
from peftbench.report import figures
from peftbench.store.rows import Usage

READ_EVERY_S = 0.001  # as often as the card answers
SAMPLE_EVERY_S = 0.1  # as a run does
SLOW_S = 0.5  # a sensor slower than this gives a short phase less than two figures
APART = 0.05  # counter and integral
NOISE, NOISE_FLOOR_W = 0.05, 2.0  # standard deviation at rest, as a share of the mean; what every card has

Samples = Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Watched:
    """What one card showed: every reading of `fast_s` seconds, then a window as a run measures one."""

    fast: tuple[Sample, ...]
    window: tuple[Sample, ...]
    usage: Usage
    failure: str | None = None


def checks(options: Options) -> Sequence[Check]:
    """Return the group's checks for every card."""
    from peftbench.meters.survey import survey

    cards = survey(options.gpu).cards
    if not cards:
        return (Check("sensors", partial(skip, "sensors", "no card to watch")),)
    if options.quick:
        left_out = "left out by --quick"
        return tuple(
            Check(name, partial(skip, name, left_out))
            for card in cards
            for name in (f"{card.label} {what}" for what in ("cadence", "counter", "idle"))
        )
    seconds = f"{options.cadence_s:g} s as fast as they answer, {options.window_s:g} s as a run does"
    begun = Check("sensors", partial(ok, "sensors", f"watching {len(cards)} card{'s' * (len(cards) > 1)}: {seconds}"))
    watch = cache(partial(watch_cards, tuple(card.uuid for card in cards), options.cadence_s, options.window_s))
    return (begun, *(check for card in cards for check in _of_card(card.label, card.uuid, watch)))


def _of_card(label: str, uuid: str, watch: Callable[[], dict[str, Watched]]) -> Sequence[Check]:
    looks = ((f"{label} cadence", cadence), (f"{label} counter", counter), (f"{label} idle", idle))
    return tuple(Check(name, partial(_look, name, uuid, look, watch)) for name, look in looks)


def _look(
    name: str, uuid: str, look: Callable[[str, Watched], Finding], watch: Callable[[], dict[str, Watched]]
) -> Finding:
    found = watch().get(uuid)
    return look(name, found) if found is not None else fail(name, "it went away meanwhile", XID)


def watch_cards(uuids: tuple[str, ...], fast_s: float, window_s: float) -> dict[str, Watched]:
    """Watch cards for `fast_s` and then `window_s` seconds, all at once. A card that is no longer there is left out."""
    from peftbench.errors import MissingError
    from peftbench.meters.nvml import NvmlMeter
    from peftbench.meters.nvml_library import card_of, open_nvml

    def meters() -> dict[str, Meter]:
        opened: dict[str, Meter] = {}
        for uuid in uuids:
            nvml, _ = open_nvml()  # NVML counts who has it open: each meter closes its own
            if nvml is None:
                continue
            try:
                opened[uuid] = NvmlMeter(nvml, card_of(nvml, uuid), computes_here=lambda: False)
            except MissingError:
                nvml.close()
        return opened

    fast = watch(meters(), READ_EVERY_S, fast_s)
    window = watch(meters(), SAMPLE_EVERY_S, window_s)
    return {
        uuid: Watched(fast[uuid][0], samples, usage, failure)
        for uuid, (samples, usage, failure) in window.items()
        if uuid in fast
    }


def watch(
    meters: dict[str, Meter], period_s: float, seconds: float
) -> dict[str, tuple[tuple[Sample, ...], Usage, str | None]]:
    """Sample meters at a period for some seconds, all at once; return each one's samples, their sums and a failure."""
    samplers = {uuid: Sampler((meter,), period_s) for uuid, meter in meters.items()}
    heard: dict[str, list[Sample]] = {uuid: [] for uuid in samplers}
    try:
        for uuid, sampler in samplers.items():
            sampler.listeners.append(heard[uuid].append)
        windows = {uuid: sampler.open() for uuid, sampler in samplers.items()}
        for sampler in samplers.values():
            sampler.start()
        time.sleep(seconds)
        for uuid, sampler in samplers.items():
            sampler.close(windows[uuid])
    finally:
        for sampler in samplers.values():
            sampler.stop()
    return {
        uuid: (tuple(_until(heard[uuid], windows[uuid].last)), windows[uuid].usage(), sampler.failure)
        for uuid, sampler in samplers.items()
    }


def _until(samples: Samples, last: Sample) -> Samples:
    return [sample for sample in samples if sample.at_s <= last.at_s]


def changes_s(samples: Samples) -> list[float]:
    """Return the seconds from one change of the power figure to the next; changes that two readings span count once."""
    known = [(sample.at_s, sample.values["power_w"]) for sample in samples if "power_w" in sample.values]
    moments = [at_s for (_, before), (at_s, value) in itertools.pairwise(known) if value != before]
    return [later - earlier for earlier, later in itertools.pairwise(moments)]


def cadence(name: str, watched: Watched) -> Finding:
    """Say how often the power sensor's figure really changes."""
    known = [sample.at_s for sample in watched.fast if "power_w" in sample.values]
    if len(known) < 2:
        return _no_power(name, watched)
    span_s, every = known[-1] - known[0], changes_s(watched.fast)
    read = f"read every {1e3 * span_s / (len(known) - 1):.1f} ms for {span_s:.1f} s"
    if not every:
        return warn(
            name,
            f"the power figure changed at most once, {read}: a stuck sensor, or a card very much at rest",
            "look again while something computes on it",
        )
    median_s = statistics.median(every)
    found = f"the power figure changes every {1e3 * median_s:.0f} ms (median of {len(every)}), {read}"
    if median_s <= SLOW_S:
        return ok(name, found)
    return warn(name, f"{found}: that slow, short phases have too few figures", "trust phases of a minute and more")


def counter(name: str, watched: Watched) -> Finding:
    """Hold the energy counter against the integral of the sampled power."""
    usage = watched.usage
    counted, integrated = usage.energy_j, usage.energy_integrated_j
    if counted is None and integrated is None:
        if "short" in (usage.missing.get("energy_j"), usage.missing.get("energy_integrated_j")):
            return skip(name, f"{usage.window_s:.1f} s are too short for a figure of energy")
        return _no_power(name, watched)
    if counted is None or integrated is None:
        field = "energy_j" if counted is None else "energy_integrated_j"
        what = "the energy counter" if counted is None else "sampled power"
        return unread(name, usage.missing.get(field, "unsupported"), f"{what} cannot be read")
    apart = abs(counted - integrated) / max(abs(integrated), 1e-9)
    found = (
        f"counter {figures.joules(counted)} J, integral {figures.joules(integrated)} J over {usage.window_s:.1f} s, "
        f"{100 * apart:.1f} % apart"
    )
    if usage.counter_resets:
        return warn(
            name,
            f"the counter started anew in between, {usage.counter_resets} times ({found})",
            "switch persistence mode on, and see that nobody resets the card",
        )
    if apart > APART:
        return warn(
            name,
            f"{found}, more than {100 * APART:.0f} %",
            "compare energy only between runs on this card; a power mean over one second disagrees where power moves",
        )
    return ok(name, found)


def idle(name: str, watched: Watched) -> Finding:
    """Say what the card draws at rest and how steadily: what is net of idle is no better than this."""
    power = [sample.values["power_w"] for sample in watched.window if "power_w" in sample.values]
    if len(power) < 2:
        return _no_power(name, watched)
    mean, deviation = statistics.fmean(power), statistics.stdev(power)
    found = f"{figures.watts(mean)} W ± {deviation:.1f} W over {watched.usage.window_s:.1f} s{_warmth(watched.usage)}"
    if watched.usage.foreign_processes:
        return warn(
            name, f"{found}, with others' processes on the card: not at rest", "look again when they have ended"
        )
    if deviation > max(NOISE * mean, NOISE_FLOOR_W):
        return warn(
            name,
            f"{found}: unsteady for a card at rest",
            "let it settle for a minute, see that nothing draws on its screen, and look again",
        )
    return ok(name, found)


def _warmth(usage: Usage) -> str:
    start, end = usage.temperature_start_c, usage.temperature_end_c
    if start is None or end is None:
        return ""
    return f", {start:.0f} °C" if start == end else f", {start:.0f} to {end:.0f} °C"


def _no_power(name: str, watched: Watched) -> Finding:
    if watched.failure is not None:
        return fail(name, f"its meter failed: {watched.failure.splitlines()[-1]}", "a defect of peftbench: report it")
    why = watched.window[-1].why("power_w") if watched.window else "lost"
    return unread(name, why, "its power cannot be read")
