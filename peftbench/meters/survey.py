"""What NVML says of a whole machine before anything is measured: why it does not open, which cards are lost."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peftbench.errors import MissingError
from peftbench.meters.nvml import NvmlMeter
from peftbench.meters.nvml_library import Card, Nvml, card_of, cards, open_nvml
from peftbench.meters.readings import Capabilities, Missing, Reading
from peftbench.text import clean

_PCI = Path("/sys/bus/pci/devices")
_NVIDIA, _DISPLAY = "0x10de", "0x03"  # vendor; class of graphics and 3D controllers
_MODULE = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class SurveyedCard:
    """A card that answers: what can be read of it, its first reading, and its MIG mode (None: it has none)."""

    label: str  # `gpu 0`, or `mig` of a slice
    uuid: str
    capabilities: Capabilities
    reading: Reading
    mig_mode: bool | None
    slices: int = 0

    @property
    def facts(self) -> Mapping[str, Any]:
        """What does not change: see `NvmlMeter.facts`."""
        return self.capabilities.facts


@dataclass(frozen=True, slots=True)
class Survey:
    """What NVML says. Where it does not open, `code` is its error's number (None: pynvml is absent) and `why` words.

    `lost` holds the cards by index that do not answer, each with its status; `no_card` says why the card that was
    asked for is none.
    """

    opened: bool
    reason: str = ""
    code: int | None = None
    driver: str | None = None
    cuda: str | None = None
    cards: tuple[SurveyedCard, ...] = ()
    lost: Mapping[int, Missing] = field(default_factory=dict)
    no_card: str | None = None
    pci_cards: int = 0
    module_loaded: bool = False


def survey(reference: str | None = None) -> Survey:
    """Ask NVML about every whole card, or the one that an index or UUID names. Never raises for want of one."""
    nvml, reason = open_nvml()
    if nvml is None:
        no_card = None if reference is None else f"GPU '{clean(reference, 80)}': there is no NVML to ask"
        return Survey(
            False, reason, init_code(), no_card=no_card, pci_cards=pci_cards(), module_loaded=_MODULE.exists()
        )
    try:
        return _survey(nvml, reference)
    finally:
        nvml.close()


def _survey(nvml: Nvml, reference: str | None) -> Survey:
    known = list(cards(nvml))
    try:
        selected = [card for card in known if not card.is_mig] if reference is None else [card_of(nvml, reference)]
        no_card = None
    except MissingError as error:
        selected, no_card = [], f"{error.message}; {error.hint}"
    cuda = nvml.value("nvmlSystemGetCudaDriverVersion_v2")
    return Survey(
        True,
        driver=clean(nvml.value("nvmlSystemGetDriverVersion") or "", 40) or None,
        cuda=None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        cards=tuple(_surveyed(nvml, card, _slices(known, card)) for card in selected),
        lost=_lost(nvml),
        no_card=no_card,
        pci_cards=pci_cards(),
        module_loaded=True,
    )


def _slices(known: list[Card], card: Card) -> int:
    """Return into how many MIG slices a card is cut: those that stand behind it."""
    behind = known[next(index for index, other in enumerate(known) if other.uuid == card.uuid) + 1 :]
    return sum(1 for _ in itertools.takewhile(lambda other: other.is_mig, behind))


def _surveyed(nvml: Nvml, card: Card, slices: int) -> SurveyedCard:
    meter = NvmlMeter(nvml, card, computes_here=lambda: False)
    mode = nvml.value("nvmlDeviceGetMigMode", card.parent)
    return SurveyedCard(
        label="mig" if card.is_mig else f"gpu {card.index}",
        uuid=card.uuid,
        capabilities=meter.probe(),
        reading=meter.sample(),
        mig_mode=None if mode is None else bool(mode[0]),
        slices=0 if card.is_mig else slices,
    )


def _lost(nvml: Nvml) -> dict[int, Missing]:
    """Return the cards that are counted and do not say who they are."""
    lost: dict[int, Missing] = {}
    for index in range(nvml.value("nvmlDeviceGetCount") or 0):
        handle, reason = nvml.ask("nvmlDeviceGetHandleByIndex", index)
        if reason is None:
            reason = nvml.ask("nvmlDeviceGetUUID", handle)[1]
        if reason is not None:
            lost[index] = reason
    return lost


def init_code() -> int | None:
    """Return the number of the error with which NVML does not open; None where pynvml is absent, 0 if it opens now."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return int(error.value)
    pynvml.nvmlShutdown()
    return 0


def card_count() -> int:
    """Return how many cards NVML counts; 0 where it does not open."""
    nvml, _ = open_nvml()
    if nvml is None:
        return 0
    try:
        return int(nvml.value("nvmlDeviceGetCount") or 0)
    finally:
        nvml.close()


def pci_cards(folder: Path = _PCI) -> int:
    """Return how many NVIDIA display or compute controllers sit on the PCI bus, driver or not."""
    count = 0
    for device in folder.glob("*"):
        try:
            vendor, kind = (device / "vendor").read_text().strip(), (device / "class").read_text().strip()
        except OSError:
            continue
        count += vendor == _NVIDIA and kind.startswith(_DISPLAY)
    return count
