"""Where queued runs go: one run on a GPU at a time, one on a machine without, or as many as the user says."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peftbench.errors import MissingError
from peftbench.store.rows import Run
from peftbench.text import clean

Device = str | None  # a card's UUID; None: the CPU, or whatever the run's own variables say


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run can start now."""

    device: Device


def free_place(
    run: Run, working: Sequence[Run], devices: Sequence[Device], slots: int, cooling: Collection[Device] = ()
) -> Place | None:
    """Return where the run whose turn it is can start now, or None: it waits rather than be overtaken.

    Args:
        run: the first of the queue.
        working: runs with a worker on this host.
        devices: those that the run may have.
        slots: how many runs go at once.
        cooling: devices on which a run has just ended.
    """
    if len(working) >= slots:
        return None
    on = {device: [other for other in working if other.device == device] for device in devices}
    for device in sorted(on, key=lambda device: len(on[device])):
        if device not in cooling and _may_share(run, on[device]):
            return Place(device)
    return None


def _may_share(run: Run, others: Collection[Run]) -> bool:
    """Clocks are the whole card's: a run that locks them has the card for itself."""
    return not others or all(each.meter_settings.lock_clocks_mhz is None for each in (run, *others))


def allowed_devices(cards: Sequence[str], variables: Mapping[str, str]) -> tuple[Device, ...]:
    """Return the devices that a run may have: this machine's cards, or those that its user made visible to it.

    Args:
        cards: UUIDs in NVML's order; none on a machine that computes on the CPU.
        variables: the run's; a number in CUDA_VISIBLE_DEVICES is taken for a place in NVML's order.
    """
    said = variables.get("CUDA_VISIBLE_DEVICES")
    if said is None or not cards:
        return tuple(cards) or (None,)
    words = [word.strip() for word in said.split(",")]
    found = {card for card, word in ((card, word) for card in cards for word in words) if _means(word, card, cards)}
    return tuple(card for card in cards if card in found) or (None,)


def _means(word: str, card: str, cards: Sequence[str]) -> bool:
    return cards.index(card) == int(word) if word.isdigit() else bool(word) and card.startswith(word)


def cards_here() -> tuple[str, ...]:
    """Return the UUIDs of the cards that torch can compute on here. A card that is sliced counts by its slices."""
    if not torch_has_cuda():
        return ()
    from peftbench.meters.nvml_library import cards, open_nvml

    nvml, _ = open_nvml()
    if nvml is None:
        return ()
    try:
        known = list(cards(nvml))
    finally:
        nvml.close()
    sliced = {card.parent for card in known if card.is_mig}
    return tuple(card.uuid for card in known if card.is_mig or card.handle not in sliced)


def device_named(name: str | None) -> str | None:
    """Return what `enqueue` takes for a card by index or UUID, for `cpu`, or (None) for any.

    Raises:
        MissingError: there is no such card, or no card that torch can compute on.
    """
    if name is None or name.lower() == "cpu":
        return None if name is None else ""
    if not torch_has_cuda():
        raise MissingError(f"--device {clean(name, 80)}: the installed torch computes on the CPU only", "leave it out")
    from peftbench.meters.nvml_library import card_of, open_nvml

    nvml, why = open_nvml()
    if nvml is None:
        raise MissingError(
            f"--device {clean(name, 80)}: there is no NVIDIA card here: {why}", "peftbench doctor says more"
        )
    try:
        return card_of(nvml, name).uuid
    finally:
        nvml.close()


def torch_has_cuda() -> bool:
    """Tell whether the installed torch was built for CUDA, by its version file: importing torch takes seconds."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return False
    try:
        text = Path(found.origin).with_name("version.py").read_text("utf-8")
    except OSError:
        return False
    return re.search(r"^cuda\b.*=\s*['\"]", text, re.MULTILINE) is not None


def threads_each(cores: int, slots: int) -> int:
    """Return the threads for each of so many workers on the CPU: more of them than cores would wait for each other."""
    return max(1, cores // slots)
