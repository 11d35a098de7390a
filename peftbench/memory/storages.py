"""Count bytes of tensors by storage: of given tensors, saved by a forward pass, and alive at any time."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def storage_id(tensor: Tensor) -> int:
    """Return an id shared by all tensors of a storage; a oneDNN tensor shares its storage with no other."""
    return id(tensor) if tensor.is_mkldnn else tensor.untyped_storage()._cdata


def size(tensor: Tensor) -> int:
    """Return the bytes of a tensor's whole storage. (oneDNN reports no sizes: block padding may add a little.)"""
    return tensor.numel() * tensor.element_size() if tensor.is_mkldnn else tensor.untyped_storage().nbytes()


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of the tensors' storages, each counted once."""
    return sum({storage_id(tensor): size(tensor) for tensor in tensors}.values())


def tensors_in(part: Any) -> Iterator[Tensor]:
    """Yield the tensors of a dataclass, recursively."""
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, tuple):
        for each in part:
            yield from tensors_in(each)
    elif is_dataclass(part):
        for field in fields(part):
            yield from tensors_in(getattr(part, field.name))


class SavedBytes:
    """Counts the bytes saved for backward by autograd graphs alive at the end of the block: `total`, per storage once.

    Args:
        apart: excluded tensors: weights, buffers, inputs. They must stay alive.

    Keep the result of the forward pass until the block ends: tensors saved by a freed graph are not counted.
    """

    def __init__(self, apart: Iterable[Tensor]) -> None:
        self.total = 0
        self._apart = {storage_id(tensor) for tensor in apart}
        self._kept: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor)

    def _keep(self, tensor: Tensor) -> Tensor:
        kept = tensor.detach()  # an output saved by its own graph would never be freed
        key = storage_id(tensor)
        if key not in self._apart:
            self._kept[key] = (weakref.ref(kept if tensor.is_mkldnn else tensor.untyped_storage()), size(tensor))
        return kept

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.__exit__(kind, error, trace)
        self.total = sum(count for alive, count in self._kept.values() if alive() is not None)
        self._kept.clear()


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages created by operations in its context while they live: `now` and `peak`.

    Memory that an operation allocates and frees internally is not counted. A view's storage is counted when first seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}
        self._serial = 0

    def restart_peak(self) -> None:
        """Reset the peak to the bytes alive now."""
        self.peak = self.now

    def take(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that were created outside the context."""
        for tensor in tensors:
            self._count_storage(tensor)

    def made(self, serial: int, count: int) -> None:
        """Record a new storage of `count` bytes, identified by `serial`."""
        self.now += count
        self.peak = max(self.peak, self.now)

    def gone(self, serial: int, count: int) -> None:
        """Record that a storage was freed."""
        self.now -= count

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and not leaf.is_mkldnn:
                self._count_storage(leaf)
        return result

    def _count_storage(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        count, serial = storage.nbytes(), self._serial
        self._serial += 1
        self._known[key] = weakref.ref(storage, lambda _: self._forget(key, serial, count))
        self.made(serial, count)

    def _forget(self, key: int, serial: int, count: int) -> None:
        del self._known[key]
        self.gone(serial, count)
