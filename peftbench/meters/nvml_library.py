"""NVML's library: opened once, every answer a value or a status, and the card that a run is on found in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from peftbench.errors import MissingError
from peftbench.meters.readings import Missing
from peftbench.text import clean

_STATUS_OF_CODE: dict[int, Missing] = {  # NVML_ERROR_*
    1: "no_driver",  # uninitialised
    2: "unsupported",  # invalid argument: a driver older than the question
    3: "unsupported",
    4: "no_permission",
    9: "no_driver",
    12: "no_driver",  # library not found
    13: "unsupported",  # function not found
    15: "lost",
    16: "lost",  # reset required
    18: "no_driver",  # library and driver of different versions
    24: "unsupported",
    25: "unsupported",  # struct of another version
    26: "unsupported",  # deprecated
    28: "lost",  # no such GPU any more
}
MIB = 2**20


class Nvml:
    """An opened NVML. Use `open_nvml`; `close` it."""

    def __init__(self, library: Any) -> None:
        self.library = library

    def ask(self, name: str, *arguments: Any) -> tuple[Any, Missing | None]:
        """Call a function of pynvml: (what it returned, None), or (None, why it could not)."""
        try:
            return getattr(self.library, name)(*arguments), None
        except self.library.NVMLError as error:
            return None, status_of(error.value)
        except (AttributeError, UnicodeDecodeError):  # an older pynvml; a name that is no text
            return None, "unsupported"

    def value(self, name: str, *arguments: Any) -> Any:
        """Call a function and return its answer, or None."""
        return self.ask(name, *arguments)[0]

    def close(self) -> None:
        """Shut it down."""
        self.ask("nvmlShutdown")


def status_of(code: int) -> Missing:
    """Return the status of an NVML return code. What may pass (not ready, time-out, unknown) is `lost`."""
    return _STATUS_OF_CODE.get(code, "lost")


def open_nvml() -> tuple[Nvml | None, str]:
    """Open NVML; or None, and why there is none in words."""
    try:
        import pynvml
    except ImportError as error:
        return None, f"nvidia-ml-py is not installed: {error}"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        message = clean(error, 200)
        return None, message if message.startswith("NVML") else f"NVML: {message}"
    return Nvml(pynvml), ""


@dataclass(frozen=True, slots=True)
class Card:
    """A card, or a MIG slice of one, that NVML knows. `handle` is pynvml's."""

    handle: Any
    uuid: str
    name: str
    index: int | None
    is_mig: bool
    parent: Any  # the card that a slice is of; itself where it is whole


def cards(nvml: Nvml) -> Iterator[Card]:
    """Yield every card, each followed by its MIG slices. A card that is lost is left out."""
    for index in range(nvml.value("nvmlDeviceGetCount") or 0):
        handle = nvml.value("nvmlDeviceGetHandleByIndex", index)
        card = None if handle is None else _card(nvml, handle, index=index)
        if card is None:
            continue
        yield card
        for slice_index in range(nvml.value("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
            slice_handle = nvml.value("nvmlDeviceGetMigDeviceHandleByIndex", handle, slice_index)
            mig_slice = None if slice_handle is None else _card(nvml, slice_handle, parent=handle)
            if mig_slice is not None:
                yield mig_slice


def _card(nvml: Nvml, handle: Any, *, index: int | None = None, parent: Any = None) -> Card | None:
    uuid = nvml.value("nvmlDeviceGetUUID", handle)
    if uuid is None:
        return None
    name = nvml.value("nvmlDeviceGetName", parent or handle)
    return Card(handle, clean(uuid, 80), clean(name or "unnamed card", 80), index, parent is not None, parent or handle)


def card_of(nvml: Nvml, reference: str) -> Card:
    """Return the card that an index or a UUID (whole, or a unique prefix) names; a MIG slice by its UUID.

    Raises:
        MissingError: none fits, or several.
    """
    known = list(cards(nvml))
    if reference.isdigit():
        matches = [card for card in known if card.index == int(reference)]
    else:
        matches = [card for card in known if card.uuid == reference] or [
            card for card in known if card.uuid.startswith(reference)
        ]
    if len(matches) == 1:
        return matches[0]
    listed = ", ".join(f"{'MIG slice' if card.is_mig else card.index} {card.uuid}" for card in known) or "none"
    raise MissingError(
        f"GPU '{clean(reference)}': {'no such card' if not matches else f'{len(matches)} cards fit'}",
        f"cards: {listed}",
    )


def check_card(reference: str | None, *, needed_for: str | None = None) -> None:
    """See that a card that was named, or any that is needed, is there, before anything is started.

    Args:
        reference: index or UUID; None: none was named.
        needed_for: the option that wants a card; None: none does.

    Raises:
        MissingError: there is no NVML, or no such card.
    """
    if reference is None and needed_for is None:
        return
    nvml, reason = open_nvml()
    if nvml is None:
        wanted = needed_for or f"--meter-gpu {clean(reference)}"
        raise MissingError(f"{wanted}: there is no NVIDIA card to read here: {reason}", "peftbench doctor says more")
    try:
        if reference is not None:
            card_of(nvml, reference)
    finally:
        nvml.close()


def torch_card(nvml: Nvml, uuid: str | None, visible: str | None = None) -> Card | None:
    """Return the card that torch's first device is, or None where that cannot be told.

    Args:
        nvml: opened.
        uuid: what torch says of the device, with or without `GPU-`; None where it does not say.
        visible: `CUDA_VISIBLE_DEVICES`; else the environment's. A UUID in it settles the matter, and is the only
            thing that does on a MIG slice. CUDA's indices need not be NVML's, so an index alone settles nothing.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "") if visible is None else visible
    first = visible.split(",")[0].strip()
    known = list(cards(nvml))

    def only(fits: Callable[[Card], bool]) -> Card | None:
        matches = [card for card in known if fits(card)]
        return matches[0] if len(matches) == 1 else None

    if first.startswith(("GPU-", "MIG-")):
        named = only(lambda card: card.uuid.startswith(first))
        return _slice_of(known, named) if named else None
    if uuid is not None:
        bare = uuid.removeprefix("GPU-").removeprefix("MIG-")
        named = only(lambda card: card.uuid.removeprefix("GPU-").removeprefix("MIG-") == bare)
        return _slice_of(known, named) if named else None
    full_cards = [card for card in known if not card.is_mig]
    return _slice_of(known, full_cards[0]) if len(full_cards) == 1 else None


def _slice_of(known: list[Card], card: Card) -> Card | None:
    """Return the card itself; where it is cut into MIG slices, its only one, or None: CUDA runs on a slice."""
    if card.is_mig:
        return card
    index = known.index(card)
    slices = []
    for other in known[index + 1 :]:
        if not other.is_mig:
            break
        slices.append(other)
    if not slices:
        return card
    return slices[0] if len(slices) == 1 else None
