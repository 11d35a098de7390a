"""GPU checks through NVML: driver, readable fields, and conditions that make measurements unreliable."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from peftbench import formatting
from peftbench.doctor.findings import Check, Finding, fail, ok, skip, warn
from peftbench.doctor.options import Options
from peftbench.meters.survey import Survey, SurveyedCard, survey
from peftbench.store.rows import THROTTLING, reasons

PERMISSION, NOT_LOADED, NO_LIBRARY, LOST, RESET, MISMATCH = 4, 9, 12, 15, 16, 18  # NVML_ERROR_*
NEEDED_FIELDS = ("power_w", "energy_j", "device_used_mib")
HOT_C = 75.0  # when idle; cards start throttling between 83 and 95
_ADMIN = 1 << 21  # CAP_SYS_ADMIN
_DEVICES = "ls -l /dev/nvidia*: this user needs read and write access (the group video or render, or --gpus of Docker)"
XID = "see dmesg | grep Xid for the cause; reset the card or reboot"


def checks(options: Options) -> Sequence[Check]:
    """Return the group's checks: those of the machine, then those of each card."""
    surveyed = survey(options.gpu)
    return (
        Check("driver", partial(driver, surveyed)),
        Check("gpus", partial(gpus, surveyed)),
        *(Check(f"gpu {index}", partial(lost, index, surveyed.lost[index])) for index in surveyed.lost),
        *(check for card in surveyed.cards for check in _of_card(card)),
        Check("clock lock", partial(clock_lock, bool(surveyed.cards), os.geteuid(), may_administer())),
    )


def _of_card(card: SurveyedCard) -> Iterator[Check]:
    looks: tuple[tuple[str, Callable[[str, SurveyedCard], Finding]], ...] = (
        ("", identity),
        (" mig", mig),
        (" persistence", persistence),
        (" processes", processes),
        (" readings", readings),
        (" power", power_source),
        (" temperature", temperature),
    )
    for name, look in looks:
        yield Check(card.label + name, partial(look, card.label + name, card))


def driver(surveyed: Survey) -> Finding:
    """Check the driver. A machine without a driver only lacks GPU measurements; a broken driver is a failure."""
    if surveyed.opened:
        return ok("driver", f"{surveyed.driver or 'of unknown version'}, up to CUDA {surveyed.cuda or '?'}")
    if surveyed.code is None:
        return fail("driver", surveyed.reason, "pip install nvidia-ml-py")
    if surveyed.code == NO_LIBRARY:
        return _no_library(surveyed)
    if surveyed.code == NOT_LOADED:
        remedy = "sudo modprobe nvidia, and check dmesg; without an NVIDIA card, nothing is needed"
        detail = f"{surveyed.reason}: its library is installed, the kernel module is not loaded"
        return fail("driver", detail, remedy) if surveyed.pci_cards else warn("driver", detail, remedy)
    remedies = {
        PERMISSION: _DEVICES,
        MISMATCH: "the driver was updated under the running kernel module: reboot, or unload and load the nvidia "
        "modules",
        LOST: XID,
        RESET: "sudo nvidia-smi --gpu-reset, or reboot",
    }
    return fail("driver", surveyed.reason, remedies.get(surveyed.code, "check nvidia-smi and dmesg; reboot"))


def _no_library(surveyed: Survey) -> Finding:
    if surveyed.module_loaded:
        return warn(
            "driver",
            f"{surveyed.reason}, though the kernel module is loaded",
            "in a container: start it with --gpus all and NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )
    if surveyed.pci_cards:
        count = f"{surveyed.pci_cards} NVIDIA card{'s' * (surveyed.pci_cards > 1)}"
        return warn("driver", f"{count} on the bus, but {surveyed.reason}", "install the NVIDIA driver")
    return skip("driver", f"no NVIDIA driver ({surveyed.reason}): no VRAM, power or energy figures")


def gpus(surveyed: Survey) -> Finding:
    """Check that there is a card."""
    if surveyed.no_card is not None:
        return fail("gpus", surveyed.no_card, "--meter-gpu takes a card's index or UUID; without it all are checked")
    if not surveyed.opened:
        return skip("gpus", "no driver")
    if surveyed.cards:
        return ok("gpus", ", ".join(f"{card.label}: {card.facts['name']}" for card in surveyed.cards))
    if surveyed.lost:
        return fail("gpus", f"{len(surveyed.lost)} of {len(surveyed.lost)} cards do not respond", "see below")
    return warn("gpus", "the driver reports no card", _DEVICES)


def lost(index: int, status: str) -> Finding:
    """Report a card that the driver counts but that does not respond."""
    if status == "no_permission":
        return fail(f"gpu {index}", "no permission to query it", _DEVICES)
    return fail(f"gpu {index}", f"it does not respond ({status})", XID)


def identity(name: str, card: SurveyedCard) -> Finding:
    """Identify the card, and check that its power limit is the default."""
    facts = card.facts
    limit, default = facts["power_limit_w"], facts["power_limit_default_w"]
    size = f"{formatting.mib(facts['memory_total_mib'])} MiB"
    detail = f"{facts['name']}, {card.uuid}, {size}, power limit {formatting.watts(limit)} W"
    if limit is None or default is None or abs(limit - default) < 1:
        return ok(name, detail)
    return warn(
        name,
        f"{detail}, not the default of {formatting.watts(default)} W: comparable only with runs under the same limit",
        f"sudo nvidia-smi -i {card.uuid} -pl {default:.0f}, or keep the limit and report it",
    )


def mig(name: str, card: SurveyedCard) -> Finding:
    """Check whether the card is partitioned with MIG."""
    if card.facts["mig"]:
        return warn(
            name,
            "a MIG slice: it has its own memory; power, energy and clocks cannot be read per slice",
            "measure energy on a whole card",
        )
    if not card.mig_mode:
        return ok(name, "off" if card.mig_mode is not None else "not supported by this card")
    return warn(
        name,
        f"on, {card.slices} slice{'s' * (card.slices != 1)}: power and energy are those of the whole card",
        "select a slice with --meter-gpu UUID to read its memory, or disable MIG: sudo nvidia-smi -i INDEX -mig 0",
    )


def persistence(name: str, card: SurveyedCard) -> Finding:
    """Check persistence mode: without it, the driver reloads, which delays programs and resets clocks and counters."""
    mode = card.facts["persistence"]
    if mode is None:
        return skip(name, "not reported by this card or driver")
    if mode:
        return ok(name, "on")
    return warn(
        name,
        "off: whenever the card is unused, the driver unloads, which resets the energy counter and clock locks",
        f"sudo nvidia-smi -i {card.uuid} -pm 1, or run nvidia-persistenced",
    )


def processes(name: str, card: SurveyedCard) -> Finding:
    """Check that no other process uses the card."""
    count = card.reading.values.get("foreign_processes")
    if count is None:
        return unread(
            name,
            card.reading.missing.get("foreign_processes", "unsupported"),
            "other processes on it cannot be detected",
        )
    if not count:
        return ok(name, "no processes on it")
    return warn(
        name,
        f"{count:.0f} process{'es' * (count > 1)} on it: they affect power, energy and times",
        "list them with nvidia-smi; wait for them, or select another card with CUDA_VISIBLE_DEVICES",
    )


def readings(name: str, card: SurveyedCard) -> Finding:
    """Check which of the fields that a run stores can be read."""
    missing = card.reading.missing
    of_the_card = {
        field: reason for field, reason in missing.items() if field != "process_vram_mib"
    }  # needs a process of ours
    broken = sorted(field for field, reason in of_the_card.items() if reason in ("lost", "no_driver"))
    if broken:
        return fail(name, f"the card does not respond for {', '.join(broken)}", XID)
    refused = sorted(field for field, reason in of_the_card.items() if reason == "no_permission")
    if refused:
        state = warn if card.reading.values else fail
        return state(name, f"no permission to read {', '.join(refused)}", _DEVICES)
    needed = [field for field in NEEDED_FIELDS if field in of_the_card]
    if needed:
        return warn(
            name,
            f"this card or driver has no {', '.join(needed)}: runs lack these values",
            "a newer driver may support it" if not card.facts["mig"] else "measure it on a whole card",
        )
    lacking = f"; not available: {', '.join(sorted(of_the_card))}" if of_the_card else ""
    return ok(name, f"{len(card.reading.values)} fields{lacking}")


def power_source(name: str, card: SurveyedCard) -> Finding:
    """Report which power reading runs will store, and its known weaknesses."""
    source = card.facts["power_source"]
    if source is None:
        return _missing_value(name, card, "power_w", "no power figures")
    if card.facts["part_time_sensor"]:
        return warn(
            name,
            f"{source}: this model's sensor samples only about a quarter of the time (arXiv 2312.02741)",
            "rely on the energy of long phases, and repeat short ones",
        )
    if source == "power_average_w":
        return warn(name, f"{source}, a mean over one second: short phases are smoothed", "try a newer driver")
    scope = " (a mean over one second from Ampere on)" if source == "power_classic_w" else ""
    return ok(name, f"{source}{scope}")


def temperature(name: str, card: SurveyedCard) -> Finding:
    """Check that the card is cool enough not to throttle."""
    degrees = card.reading.values.get("temperature_c")
    if degrees is None:
        return _missing_value(name, card, "temperature_c", "no temperature")
    slowed = reasons(int(card.reading.values.get("event_reasons", 0)) & THROTTLING)
    detail = f"{degrees:.0f} °C{', throttled by: ' + ', '.join(slowed) if slowed else ''}"
    if slowed or degrees > HOT_C:
        return warn(name, detail, "let it cool, and check its fans and airflow; a run now would be slowed")
    return ok(name, detail)


def _missing_value(name: str, card: SurveyedCard, field: str, what: str) -> Finding:
    return unread(name, card.reading.missing.get(field, "unsupported"), what)


def unread(name: str, reason: str, what: str) -> Finding:
    """Report a missing value: a warning without permission, skipped if unsupported, a failure if the card is lost."""
    if reason == "no_permission":
        return warn(name, f"{what}: no permission", _DEVICES)
    if reason == "unsupported":
        return skip(name, f"{what}: not supported by this card or driver")
    return fail(name, f"{what}: the card does not respond ({reason})", XID)


def clock_lock(there: bool, user: int, administers: bool) -> Finding:
    """Report whether `--lock-clocks` can work, without locking: the driver allows it only to root."""
    if not there:
        return skip("clock lock", "no card")
    if user == 0 and administers:
        return ok("clock lock", "this user is root: run --lock-clocks MHZ may lock a card's clocks")
    who = "root without CAP_SYS_ADMIN (a container)" if user == 0 else f"user {user}, and only root may lock clocks"
    return warn(
        "clock lock",
        f"this user is {who}: run --lock-clocks will be refused, and clocks will vary",
        "for steady clocks: sudo nvidia-smi -lgc MHZ,MHZ before the runs, and sudo nvidia-smi -rgc after them",
    )


@cache
def may_administer(status: Path = Path("/proc/self/status")) -> bool:
    """Return whether this process has the capability that the driver asks for (True if unknown)."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return True
    held = next((line.split()[1] for line in lines if line.startswith("CapEff:")), None)
    return held is None or bool(int(held, 16) & _ADMIN)
