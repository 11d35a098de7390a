"""Assignment of queued runs to devices: one run per GPU, one on a machine without GPUs, or as many as configured."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peftbench.errors import MissingError
from peftbench.store.rows import Run
from peftbench.text import clean

Device = str | None  # a GPU's UUID; None: the CPU, or as set by the run's own environment variables


@dataclass(frozen=True, slots=True)
class Slot:
    """A device on which a run can start now."""

    device: Device


def free_slot(
    run: Run, working: Sequence[Run], devices: Sequence[Device], slots: int, cooling: Collection[Device] = ()
) -> Slot | None:
    """Return where the first queued run can start now; None: it waits, and later runs do not overtake it.

    Args:
        run: the first of the queue.
        working: runs with a worker on this host.
        devices: those that the run may use.
        slots: the number of concurrent runs.
        cooling: devices on which a run has just ended.
    """
    if len(working) >= slots:
        return None
    on = {device: [other for other in working if other.device == device] for device in devices}
    for device in sorted(on, key=lambda device: len(on[device])):
        if device not in cooling and _may_share(run, on[device]):
            return Slot(device)
    return None


def _may_share(run: Run, others: Collection[Run]) -> bool:
    """Clocks are locked for the whole GPU, so a run that locks them needs the GPU to itself."""
    return not others or all(each.meter_settings.lock_clocks_mhz is None for each in (run, *others))


def allowed_devices(cards: Sequence[str], variables: Mapping[str, str]) -> tuple[Device, ...]:
    """Return the devices that a run may use: this machine's GPUs, or those that CUDA_VISIBLE_DEVICES allows.

    Args:
        cards: UUIDs in NVML's order; empty on a machine that computes on the CPU.
        variables: the run's; a number in CUDA_VISIBLE_DEVICES is taken as an index in NVML's order.
    """
    setting = variables.get("CUDA_VISIBLE_DEVICES")
    if setting is None or not cards:
        return tuple(cards) or (None,)
    words = [word.strip() for word in setting.split(",")]
    visible = {card for card, word in ((card, word) for card in cards for word in words) if _means(word, card, cards)}
    return tuple(card for card in cards if card in visible) or (None,)


def _means(word: str, card: str, cards: Sequence[str]) -> bool:
    return cards.index(card) == int(word) if word.isdigit() else bool(word) and card.startswith(word)


def cards_here() -> tuple[str, ...]:
    """Return the UUIDs of the GPUs that torch can use here; a GPU in MIG mode is represented by its slices."""
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
    """Return the `device` of `enqueue` for a GPU given by index or UUID, for `cpu`, or (None) for any.

    Raises:
        MissingError: there is no such GPU, or none that torch can use.
    """
    if name is None or name.lower() == "cpu":
        return None if name is None else ""
    if not torch_has_cuda():
        raise MissingError(f"--device {clean(name, 80)}: the installed torch is CPU-only", "omit the option")
    from peftbench.meters.nvml_library import card_of, open_nvml

    nvml, reason = open_nvml()
    if nvml is None:
        raise MissingError(
            f"--device {clean(name, 80)}: no NVIDIA card found: {reason}", "for details: peftbench doctor"
        )
    try:
        return card_of(nvml, name).uuid
    finally:
        nvml.close()


def torch_has_cuda() -> bool:
    """Tell whether the installed torch was built for CUDA, from its version file: importing torch takes seconds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        text = Path(spec.origin).with_name("version.py").read_text("utf-8")
    except OSError:
        return False
    return re.search(r"^cuda\b.*=\s*['\"]", text, re.MULTILINE) is not None


def threads_each(cores: int, slots: int) -> int:
    """Return the threads for each of `slots` workers on the CPU: more threads than cores would contend."""
    return max(1, cores // slots)
