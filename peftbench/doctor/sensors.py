"""GPU sensor checks over time: update interval, energy counter against integrated power, noise when idle.

All cards are sampled simultaneously, once, when the first of the checks is run.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from peftbench import formatting
from peftbench.doctor.findings import Check, Finding, fail, ok, skip, warn
from peftbench.doctor.gpu import XID, unread
from peftbench.doctor.options import Options
from peftbench.meters.readings import Meter, Sample
from peftbench.meters.sampler import Sampler
from peftbench.store.rows import Usage

READ_EVERY_S = 0.001  # as fast as the card responds
SAMPLE_EVERY_S = 0.1  # as in a run
SLOW_S = 0.5  # a slower sensor gives a short phase fewer than two values
APART = 0.05  # allowed relative difference of counter and integral
NOISE, NOISE_FLOOR_W = 0.05, 2.0  # idle standard deviation: as a fraction of the mean; the floor that every card has

Samples = Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Watched:
    """One card's samples: every reading over `fast_s` seconds, then a window measured as in a run."""

    fast: tuple[Sample, ...]
    window: tuple[Sample, ...]
    usage: Usage
    failure: str | None = None


def checks(options: Options) -> Sequence[Check]:
    """Return the group's checks for every card."""
    from peftbench.meters.survey import survey

    cards = survey(options.gpu).cards
    if not cards:
        return (Check("sensors", partial(skip, "sensors", "no card")),)
    if options.quick:
        left_out = "skipped by --quick"
        return tuple(
            Check(name, partial(skip, name, left_out))
            for card in cards
            for name in (f"{card.label} {what}" for what in ("cadence", "counter", "idle"))
        )
    seconds = f"{options.cadence_s:g} s at the maximum rate, {options.window_s:g} s at the rate of a run"
    begun = Check("sensors", partial(ok, "sensors", f"sampling {len(cards)} card{'s' * (len(cards) > 1)}: {seconds}"))
    watch = cache(partial(watch_cards, tuple(card.uuid for card in cards), options.cadence_s, options.window_s))
    return (begun, *(check for card in cards for check in _of_card(card.label, card.uuid, watch)))


def _of_card(label: str, uuid: str, watch: Callable[[], dict[str, Watched]]) -> Sequence[Check]:
    looks = ((f"{label} cadence", cadence), (f"{label} counter", counter), (f"{label} idle", idle))
    return tuple(Check(name, partial(_run_check, name, uuid, look, watch)) for name, look in looks)


def _run_check(
    name: str, uuid: str, look: Callable[[str, Watched], Finding], watch: Callable[[], dict[str, Watched]]
) -> Finding:
    watched = watch().get(uuid)
    return look(name, watched) if watched is not None else fail(name, "it disappeared during sampling", XID)


def watch_cards(uuids: tuple[str, ...], fast_s: float, window_s: float) -> dict[str, Watched]:
    """Sample all cards simultaneously for `fast_s` and then `window_s` seconds. Cards that disappear are omitted."""
    from peftbench.errors import MissingError
    from peftbench.meters.nvml import NvmlMeter
    from peftbench.meters.nvml_library import card_of, open_nvml

    def meters() -> dict[str, Meter]:
        opened: dict[str, Meter] = {}
        for uuid in uuids:
            nvml, _ = open_nvml()  # NVML is reference-counted: each meter closes its own handle
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
    """Sample meters simultaneously at a period; return for each its samples, usage totals and failure, if any."""
    samplers = {uuid: Sampler((meter,), period_s) for uuid, meter in meters.items()}
    received: dict[str, list[Sample]] = {uuid: [] for uuid in samplers}
    try:
        for uuid, sampler in samplers.items():
            sampler.listeners.append(received[uuid].append)
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
        uuid: (tuple(_until(received[uuid], windows[uuid].last)), windows[uuid].usage(), sampler.failure)
        for uuid, sampler in samplers.items()
    }


def _until(samples: Samples, last: Sample) -> Samples:
    return [sample for sample in samples if sample.at_s <= last.at_s]


def changes_s(samples: Samples) -> list[float]:
    """Return the intervals between changes of the power reading, in seconds; changes between two samples count once."""
    known = [(sample.at_s, sample.values["power_w"]) for sample in samples if "power_w" in sample.values]
    moments = [at_s for (_, before), (at_s, value) in itertools.pairwise(known) if value != before]
    return [later - earlier for earlier, later in itertools.pairwise(moments)]


def cadence(name: str, watched: Watched) -> Finding:
    """Report the actual update interval of the power sensor."""
    known = [sample.at_s for sample in watched.fast if "power_w" in sample.values]
    if len(known) < 2:
        return _no_power(name, watched)
    span_s, every = known[-1] - known[0], changes_s(watched.fast)
    read = f"read every {1e3 * span_s / (len(known) - 1):.1f} ms for {span_s:.1f} s"
    if not every:
        return warn(
            name,
            f"the power reading changed at most once, {read}: a stuck sensor, or a fully idle card",
            "check again while the card is under load",
        )
    median_s = statistics.median(every)
    detail = f"the power reading changes every {1e3 * median_s:.0f} ms (median of {len(every)}), {read}"
    if median_s <= SLOW_S:
        return ok(name, detail)
    return warn(name, f"{detail}: too slow for short phases", "rely only on phases of a minute or longer")


def counter(name: str, watched: Watched) -> Finding:
    """Compare the energy counter with the integral of the sampled power."""
    usage = watched.usage
    counted, integrated = usage.energy_j, usage.energy_integrated_j
    if counted is None and integrated is None:
        if "short" in (usage.missing.get("energy_j"), usage.missing.get("energy_integrated_j")):
            return skip(name, f"{usage.window_s:.1f} s are too short to measure energy")
        return _no_power(name, watched)
    if counted is None or integrated is None:
        field = "energy_j" if counted is None else "energy_integrated_j"
        what = "the energy counter" if counted is None else "sampled power"
        return unread(name, usage.missing.get(field, "unsupported"), f"{what} cannot be read")
    apart = abs(counted - integrated) / max(abs(integrated), 1e-9)
    detail = (
        f"counter {formatting.joules(counted)} J, integral {formatting.joules(integrated)} J "
        f"over {usage.window_s:.1f} s, {100 * apart:.1f} % apart"
    )
    if usage.counter_resets:
        return warn(
            name,
            f"the counter was reset {usage.counter_resets} times during the window ({detail})",
            "enable persistence mode, and make sure that no one resets the card",
        )
    if apart > APART:
        return warn(
            name,
            f"{detail}, more than {100 * APART:.0f} %",
            "compare energy only between runs on this card; power averaged over one second deviates when power changes",
        )
    return ok(name, detail)


def idle(name: str, watched: Watched) -> Finding:
    """Report idle power and its noise, which bounds the accuracy of energy net of idle."""
    power = [sample.values["power_w"] for sample in watched.window if "power_w" in sample.values]
    if len(power) < 2:
        return _no_power(name, watched)
    mean, deviation = statistics.fmean(power), statistics.stdev(power)
    detail = (
        f"{formatting.watts(mean)} W ± {deviation:.1f} W over {watched.usage.window_s:.1f} s{_degrees(watched.usage)}"
    )
    if watched.usage.foreign_processes:
        return warn(name, f"{detail}, with other processes on the card: not idle", "check again when they have ended")
    if deviation > max(NOISE * mean, NOISE_FLOOR_W):
        return warn(
            name,
            f"{detail}: unsteady for an idle card",
            "wait a minute, make sure that no display is using the card, and check again",
        )
    return ok(name, detail)


def _degrees(usage: Usage) -> str:
    start, end = usage.temperature_start_c, usage.temperature_end_c
    if start is None or end is None:
        return ""
    return f", {start:.0f} °C" if start == end else f", {start:.0f} to {end:.0f} °C"


def _no_power(name: str, watched: Watched) -> Finding:
    if watched.failure is not None:
        return fail(name, f"its meter failed: {watched.failure.splitlines()[-1]}", "a bug in peftbench: report it")
    reason = watched.window[-1].reason("power_w") if watched.window else "lost"
    return unread(name, reason, "its power cannot be read")
