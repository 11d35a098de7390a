"""The cards as NVML describes them: driver, what can be read, what would make their figures doubtful."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from peftbench.doctor.findings import Check, Finding, fail, ok, skip, warn
from peftbench.doctor.options import Options
from peftbench.meters.survey import Survey, SurveyedCard, survey
from peftbench.report import figures
from peftbench.store.rows import THROTTLING, reasons

PERMISSION, NOT_LOADED, NO_LIBRARY, LOST, RESET, MISMATCH = 4, 9, 12, 15, 16, 18  # NVML_ERROR_*
NEEDED_FIELDS = ("power_w", "energy_j", "device_used_mib")
HOT_C = 75.0  # at rest; cards begin to slow themselves between 83 and 95
_ADMIN = 1 << 21  # CAP_SYS_ADMIN
_DEVICES = "ls -l /dev/nvidia*: this user needs to read and write them (the group video or render, or --gpus of Docker)"
XID = "dmesg | grep Xid says why; reset the card or reboot"


def checks(options: Options) -> Sequence[Check]:
    """Return the group's checks: the machine's, then each card's."""
    found = survey(options.gpu)
    return (
        Check("driver", partial(driver, found)),
        Check("gpus", partial(gpus, found)),
        *(Check(f"gpu {index}", partial(lost, index, found.lost[index])) for index in found.lost),
        *(check for card in found.cards for check in _of_card(card)),
        Check("clock lock", partial(clock_lock, bool(found.cards), os.geteuid(), may_administer())),
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


def driver(found: Survey) -> Finding:
    """Judge the driver. A machine without one is a sound machine without GPU figures; a broken one is not."""
    if found.opened:
        return ok("driver", f"{found.driver or 'of unknown version'}, up to CUDA {found.cuda or '?'}")
    if found.code is None:
        return fail("driver", found.why, "pip install nvidia-ml-py")
    if found.code == NO_LIBRARY:
        return _no_library(found)
    if found.code == NOT_LOADED:
        remedy = "sudo modprobe nvidia, and see what dmesg says; a machine without an NVIDIA card needs nothing"
        detail = f"{found.why}: its library is here, the kernel module is not"
        return fail("driver", detail, remedy) if found.pci_cards else warn("driver", detail, remedy)
    remedies = {
        PERMISSION: _DEVICES,
        MISMATCH: "the driver was updated under the running kernel module: reboot, or unload and load the nvidia "
        "modules",
        LOST: XID,
        RESET: "sudo nvidia-smi --gpu-reset, or reboot",
    }
    return fail("driver", found.why, remedies.get(found.code, "see what nvidia-smi and dmesg say; reboot"))


def _no_library(found: Survey) -> Finding:
    if found.module_loaded:
        return warn(
            "driver",
            f"{found.why}, though the kernel module is loaded",
            "in a container: start it with --gpus all and NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )
    if found.pci_cards:
        count = f"{found.pci_cards} NVIDIA card{'s' * (found.pci_cards > 1)}"
        return warn("driver", f"{count} on the bus, but {found.why}", "install the NVIDIA driver")
    return skip("driver", f"no NVIDIA driver ({found.why}): no VRAM, power or energy figures")


def gpus(found: Survey) -> Finding:
    """See that there is a card to look at."""
    if found.no_card is not None:
        return fail("gpus", found.no_card, "--meter-gpu takes a card's index or UUID; without it all are looked at")
    if not found.opened:
        return skip("gpus", "no driver to ask")
    if found.cards:
        return ok("gpus", ", ".join(f"{card.label}: {card.facts['name']}" for card in found.cards))
    if found.lost:
        return fail("gpus", f"{len(found.lost)} of {len(found.lost)} cards do not answer", "see below")
    return warn("gpus", "the driver knows no card", _DEVICES)


def lost(index: int, status: str) -> Finding:
    """Report a card that is counted and does not answer."""
    if status == "no_permission":
        return fail(f"gpu {index}", "no permission to ask it", _DEVICES)
    return fail(f"gpu {index}", f"it does not answer ({status})", XID)


def identity(name: str, card: SurveyedCard) -> Finding:
    """Say which card it is, and see that it may draw what it was built for."""
    facts = card.facts
    limit, default = facts["power_limit_w"], facts["power_limit_default_w"]
    size = f"{figures.mib(facts['memory_total_mib'])} MiB"
    found = f"{facts['name']}, {card.uuid}, {size}, power limit {figures.watts(limit)} W"
    if limit is None or default is None or abs(limit - default) < 1:
        return ok(name, found)
    return warn(
        name,
        f"{found}, not the default of {figures.watts(default)} W: comparable only with runs under the same limit",
        f"sudo nvidia-smi -i {card.uuid} -pl {default:.0f}, or leave it and say so",
    )


def mig(name: str, card: SurveyedCard) -> Finding:
    """See whether the card is cut into slices."""
    if card.facts["mig"]:
        return warn(
            name,
            "a MIG slice: memory is its own; power, energy and clocks cannot be read of it",
            "measure energy on a whole card",
        )
    if not card.mig_mode:
        return ok(name, "off" if card.mig_mode is not None else "this card has none")
    return warn(
        name,
        f"on, {card.slices} slice{'s' * (card.slices != 1)}: power and energy are the whole card's, whoever computes",
        "name a slice with --meter-gpu UUID for its memory, or switch MIG off: sudo nvidia-smi -i INDEX -mig 0",
    )


def persistence(name: str, card: SurveyedCard) -> Finding:
    """See that the driver stays loaded: else the first program waits for it, and clocks and counters start anew."""
    mode = card.facts["persistence"]
    if mode is None:
        return skip(name, "this card or driver does not tell")
    if mode:
        return ok(name, "on")
    return warn(
        name,
        "off: the driver is set up anew whenever nobody uses the card, and energy counter and clock locks with it",
        f"sudo nvidia-smi -i {card.uuid} -pm 1, or run nvidia-persistenced",
    )


def processes(name: str, card: SurveyedCard) -> Finding:
    """See that nobody computes on the card."""
    count = card.reading.values.get("foreign_processes")
    if count is None:
        return unread(
            name,
            card.reading.missing.get("foreign_processes", "unsupported"),
            "whether others compute on it cannot be told",
        )
    if not count:
        return ok(name, "nobody computes on it")
    return warn(
        name,
        f"{count:.0f} process{'es' * (count > 1)} on it: power, energy and times are theirs too",
        "nvidia-smi lists them; wait for them, or take another card with CUDA_VISIBLE_DEVICES",
    )


def readings(name: str, card: SurveyedCard) -> Finding:
    """See which of the fields that a run stores can be read."""
    missing = card.reading.missing
    of_the_card = {field: why for field, why in missing.items() if field != "process_vram_mib"}  # of a process of ours
    broken = sorted(field for field, why in of_the_card.items() if why in ("lost", "no_driver"))
    if broken:
        return fail(name, f"the card does not answer for {', '.join(broken)}", XID)
    refused = sorted(field for field, why in of_the_card.items() if why == "no_permission")
    if refused:
        state = warn if card.reading.values else fail
        return state(name, f"no permission to read {', '.join(refused)}", _DEVICES)
    needed = [field for field in NEEDED_FIELDS if field in of_the_card]
    if needed:
        return warn(
            name,
            f"this card or driver has no {', '.join(needed)}: runs have no such figure",
            "a newer driver may have it" if not card.facts["mig"] else "measure it on a whole card",
        )
    lacking = f"; it has no {', '.join(sorted(of_the_card))}" if of_the_card else ""
    return ok(name, f"{len(card.reading.values)} fields{lacking}")


def power_source(name: str, card: SurveyedCard) -> Finding:
    """Say which of the power sensor's figures runs would store, and what is known to be weak about it."""
    source = card.facts["power_source"]
    if source is None:
        return _lacking(name, card, "power_w", "no power figures")
    if card.facts["part_time_sensor"]:
        return warn(
            name,
            f"{source}: this model's sensor looks about a quarter of the time (arXiv 2312.02741)",
            "trust the energy of long phases, and repeat short ones",
        )
    if source == "power_average_w":
        return warn(
            name, f"{source}, a mean over one second: short phases are blurred", "a newer driver may have the instant"
        )
    scope = " (a mean over one second from Ampere on)" if source == "power_classic_w" else ""
    return ok(name, f"{source}{scope}")


def temperature(name: str, card: SurveyedCard) -> Finding:
    """See that the card is cool enough not to slow itself."""
    degrees = card.reading.values.get("temperature_c")
    if degrees is None:
        return _lacking(name, card, "temperature_c", "no temperature")
    slowed = reasons(int(card.reading.values.get("event_reasons", 0)) & THROTTLING)
    found = f"{degrees:.0f} °C{', slowed by: ' + ', '.join(slowed) if slowed else ''}"
    if slowed or degrees > HOT_C:
        return warn(name, found, "let it cool, and see to its fans and air; a run now is a slow one")
    return ok(name, found)


def _lacking(name: str, card: SurveyedCard, field: str, what: str) -> Finding:
    return unread(name, card.reading.missing.get(field, "unsupported"), what)


def unread(name: str, why: str, what: str) -> Finding:
    """Judge a field without value: refused is to be mended, unsupported is the card's nature, lost is broken."""
    if why == "no_permission":
        return warn(name, f"{what}: no permission", _DEVICES)
    if why == "unsupported":
        return skip(name, f"{what}: this card or driver does not have it")
    return fail(name, f"{what}: the card does not answer ({why})", XID)


def clock_lock(there: bool, user: int, administers: bool) -> Finding:
    """Say whether `--lock-clocks` can work, without locking anything: the driver allows it to root alone."""
    if not there:
        return skip("clock lock", "no card")
    if user == 0 and administers:
        return ok("clock lock", "this user is root: run --lock-clocks MHZ may lock a card's clocks")
    who = "root without CAP_SYS_ADMIN (a container)" if user == 0 else f"user {user}, and only root may lock clocks"
    return warn(
        "clock lock",
        f"this user is {who}: run --lock-clocks will be refused, and clocks move as the card likes",
        "for steady clocks: sudo nvidia-smi -lgc MHZ,MHZ before the runs, and sudo nvidia-smi -rgc after them",
    )


@cache
def may_administer(status: Path = Path("/proc/self/status")) -> bool:
    """Return whether this process has the capability that the driver asks for (True where that cannot be told)."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return True
    held = next((line.split()[1] for line in lines if line.startswith("CapEff:")), None)
    return held is None or bool(int(held, 16) & _ADMIN)
