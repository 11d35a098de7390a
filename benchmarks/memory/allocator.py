"""A model of torch's caching allocator for one stream: the memory it reserves for a series of allocations.

After c10/cuda/CUDACachingAllocator.cpp, without options: sizes are rounded up to 512 bytes; blocks of at most 1 MiB
come from segments of 2 MiB; larger ones from segments of 20 MiB, or, from 10 MiB on, of their own size rounded up to
2 MiB; the smallest free block that fits is taken, and split where enough is left; adjacent free blocks are merged;
nothing is returned to the device.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

MIB = 2**20
STEP, SMALL = 512, 1 * MIB
SMALL_SEGMENT, LARGE_SEGMENT, OWN_SEGMENT = 2 * MIB, 20 * MIB, 10 * MIB
LEFT_OF_LARGE = 1 * MIB  # a large block is split where more than this is left


@dataclass(slots=True, eq=False)
class Block:
    """A piece of a segment."""

    address: int
    size: int
    small: bool
    free: bool = False
    before: Block | None = None
    after: Block | None = None


class Allocator:
    """Allocates and frees blocks; `reserved`: bytes of all segments."""

    def __init__(self) -> None:
        self.reserved = 0
        self._end = 0  # of the last segment, plus a gap, as segments are never adjacent
        self._free: dict[bool, list[tuple[int, int, Block]]] = {True: [], False: []}  # by size, then address

    def take(self, count: int) -> Block:
        """Return a block of at least `count` bytes."""
        size = max(STEP, -(-count // STEP) * STEP)
        small = size <= SMALL
        free = self._free[small]
        found = bisect.bisect_left(free, (size, -1))
        block = free.pop(found)[2] if found < len(free) else self._segment(size, small)
        block.free = False
        left = block.size - size
        if left >= STEP if small else left > LEFT_OF_LARGE:
            rest = Block(block.address + size, left, small, before=block, after=block.after)
            if block.after is not None:
                block.after.before = rest
            block.size, block.after = size, rest
            self._offer(rest)
        return block

    def give(self, block: Block) -> None:
        """Free a block, and merge it with its free neighbours."""
        after, before = block.after, block.before
        if after is not None and after.free:
            self._withdraw(after)
            self._join(block, after)
        if before is not None and before.free:
            self._withdraw(before)
            self._join(before, block)
            block = before
        self._offer(block)

    def _segment(self, size: int, small: bool) -> Block:
        own = -(-size // SMALL_SEGMENT) * SMALL_SEGMENT
        whole = SMALL_SEGMENT if small else LARGE_SEGMENT if size < OWN_SEGMENT else own
        address, self._end = self._end, self._end + whole + STEP
        self.reserved += whole
        return Block(address, whole, small)

    def _offer(self, block: Block) -> None:
        block.free = True
        bisect.insort(self._free[block.small], (block.size, block.address, block))

    def _withdraw(self, block: Block) -> None:
        free = self._free[block.small]
        del free[bisect.bisect_left(free, (block.size, block.address))]

    @staticmethod
    def _join(block: Block, after: Block) -> None:
        block.size += after.size
        block.after = after.after
        if after.after is not None:
            after.after.before = block
