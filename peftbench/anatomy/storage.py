"""Bytes of tensors, each storage once; what a forward pass saves; and which storages are alive at any moment."""

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


def place(tensor: Tensor) -> int:
    """Return what is the same for two tensors of one storage; a tensor of oneDNN's has only itself."""
    return id(tensor) if tensor.is_mkldnn else tensor.untyped_storage()._cdata


def size(tensor: Tensor) -> int:
    """Return the bytes of a tensor's whole storage. (oneDNN tells no size: its blocks may add a little.)"""
    return tensor.numel() * tensor.element_size() if tensor.is_mkldnn else tensor.untyped_storage().nbytes()


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of the tensors' storages, each counted once."""
    return sum({place(tensor): size(tensor) for tensor in tensors}.values())


def tensors_in(part: Any) -> Iterator[Tensor]:
    """Yield the tensors of a dataclass, however deep."""
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, tuple):
        for each in part:
            yield from tensors_in(each)
    elif is_dataclass(part):
        for field in fields(part):
            yield from tensors_in(getattr(part, field.name))


class SavedBytes:
    """Counts what the graphs that are alive at the end of the block keep for backward: `total` bytes, a storage once.

    Args:
        apart: tensors that do not count: weights, buffers, inputs. They must stay alive.

    Keep the result of the forward pass until the block ends: what a graph kept that is gone by then is not counted.
    """

    def __init__(self, apart: Iterable[Tensor]) -> None:
        self.total = 0
        self._apart = {place(tensor) for tensor in apart}
        self._kept: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor)

    def _keep(self, tensor: Tensor) -> Tensor:
        kept = tensor.detach()  # an output that its own graph held would never be freed
        key = place(tensor)
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
    """Counts the bytes of the storages that operations within it make, while they live: `now` and `peak`.

    What an operation allocates and frees inside itself is not seen. A view's storage is counted when it is first met.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}
        self._serial = 0

    def restart_peak(self) -> None:
        """Let the peak start from what is alive now."""
        self.peak = self.now

    def take(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that were made outside."""
        for tensor in tensors:
            self._meet(tensor)

    def made(self, serial: int, count: int) -> None:
        """Note a new storage of so many bytes; `serial` is its own."""
        self.now += count
        self.peak = max(self.peak, self.now)

    def gone(self, serial: int, count: int) -> None:
        """Note that a storage is no more."""
        self.now -= count

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and not leaf.is_mkldnn:
                self._meet(leaf)
        return result

    def _meet(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        count, serial = storage.nbytes(), self._serial
        self._serial += 1
        self._known[key] = weakref.ref(storage, lambda _: self._leave(key, serial, count))
        self.made(serial, count)

    def _leave(self, key: int, serial: int, count: int) -> None:
        del self._known[key]
        self.gone(serial, count)
