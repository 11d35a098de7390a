"""The model of torch's caching allocator, and the replay of an epoch on it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.memory.allocator import MIB, Allocator, Block
from benchmarks.memory.epoch import _replay, reserved_bytes, sst_lengths


@pytest.mark.parametrize(
    ("count", "reserved"),
    [(1, 2), (MIB, 2), (MIB + 1, 20), (9 * MIB, 20), (10 * MIB, 10), (10 * MIB + 1, 12), (93 * MIB + 5, 94)],
)
def test_segments_by_the_size_of_the_first_block(count: int, reserved: int) -> None:
    allocator = Allocator()
    allocator.take(count)
    assert allocator.reserved == reserved * MIB


def test_small_blocks_share_a_segment_and_large_ones_another() -> None:
    allocator = Allocator()
    for count in (100, 512 * 1024, 600 * 1024, 3 * MIB, 4 * MIB):
        allocator.take(count)
    assert allocator.reserved == 22 * MIB


def test_freed_blocks_are_reused_and_merged() -> None:
    allocator = Allocator()
    blocks = [allocator.take(5 * MIB) for _ in range(4)]
    for block in (blocks[1], blocks[3], blocks[2], blocks[0]):
        allocator.give(block)
    assert allocator.take(19 * MIB).size == 20 * MIB  # the remaining 1 MiB is too small to split off
    assert allocator.reserved == 20 * MIB


def test_the_smallest_free_block_that_fits_is_taken() -> None:
    allocator = Allocator()
    first, _, third, _ = (allocator.take(count * MIB) for count in (6, 2, 4, 2))
    allocator.give(first)
    allocator.give(third)
    assert allocator.take(3 * MIB).address == third.address


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30 * MIB)), max_size=60))
def test_blocks_in_use_never_overlap(steps: list[tuple[bool, int]]) -> None:
    allocator, used = Allocator(), list[Block]()
    for take, count in steps:
        if take or not used:
            used.append(allocator.take(count))
            assert used[-1].size >= count
        else:
            allocator.give(used.pop(count % len(used)))
        spans = sorted((block.address, block.address + block.size) for block in used)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
        assert sum(block.size for block in used) <= allocator.reserved


def test_a_step_that_is_replayed_needs_no_more_than_the_first_time() -> None:
    allocator, known = Allocator(), {}
    step = [(0, 3 * MIB), (1, 12 * MIB), (0, -1), (2, 1000)]
    for _ in range(3):
        _replay([*step, (1, -1)], allocator, known)
    assert allocator.reserved == (20 + 2) * MIB and list(known) == [2]


@pytest.mark.slow
def test_an_epoch_reserves_more_than_its_largest_step_keeps() -> None:
    assert max(sst_lengths()) == 80 and len(sst_lengths()) == 1068
    short, long_ = (reserved_bytes("last-layer", order, formed=False) for order in ([8], [8, 80, 8]))
    assert 418 * MIB < short < long_
