"""The memory of the study's Table 2, and its interpretation here. Imports no torch.

The values in `peftbench.study.published` are from nvidia-smi, in MiB (printed as MB): the peak reserved by torch's
allocator plus the CUDA context. The table states neither the task measured nor how an adapter is computed;
docs/explanation/memory.md compares the interpretations. The one used:

- SST only: the table's speed is that of SST, and SST is trained first. The adapters of every task are in memory, but
  only those of SST have gradients and optimiser state; the growth of the rows with the rank agrees with that;
- the largest batch determines the peak: 8 sentences padded to the longest training sentence of SST;
- the course's BERT: attention weights are materialised and kept, encoder dropout is on;
- an adapted layer materialises its weight, W0 + B A or m (W0 + B A) / ||W0 + B A||, and multiplies by it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.memory.parts import Anatomy, BatchShape
from peftbench.memory.typical_lengths import WHOLE
from peftbench.study.published import facts, rows

WORKLOAD = facts().workload
TASK = "sst"
BATCH_SIZE = 8
CONTEXT_ROW = "last-layer"  # trains almost nothing: its memory beyond weights is the constant of all rows


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A row of Table 2: the preset that reproduces it, and its memory in MiB including the CUDA context."""

    preset: str
    vram_mib: int


def _rows() -> tuple[StudyRow, ...]:
    """Return the rows without augmentation, which changes the number of steps but not the memory of one."""
    plain = [row for row in rows() if not row.augmented]
    return tuple(StudyRow(CONTEXT_ROW if row.method == CONTEXT_ROW else row.preset, row.vram_mib) for row in plain)


ROWS = _rows()


def padded_batch() -> BatchShape:
    """Return the batch assumed for the study's values."""
    return BatchShape(((WHOLE[TASK][-1],) * BATCH_SIZE,))


@dataclass(frozen=True, slots=True)
class MemoryComparison:
    """A row of the study with our predictions for a GPU: as the study ran it, and on the native path."""

    row: StudyRow
    as_study: Anatomy
    native: Anatomy


@dataclass(frozen=True, slots=True)
class MemoryDifference:
    """Memory of a row beyond the last-layer row, in bytes: the study's, predicted as it ran it, predicted natively."""

    preset: str
    study: int
    as_study: int
    native: int

    @property
    def error(self) -> float:
        """The prediction's relative error."""
        return self.as_study / self.study - 1


def differences(compared: Sequence[MemoryComparison]) -> list[MemoryDifference]:
    """Return each row minus the last-layer row, which cancels the CUDA context.

    Raises:
        StopIteration: there is no last-layer row.
    """
    base = next(comparison for comparison in compared if comparison.row.preset == CONTEXT_ROW)
    return [
        MemoryDifference(
            comparison.row.preset,
            (comparison.row.vram_mib - base.row.vram_mib) * 2**20,
            (comparison.as_study.total or 0) - (base.as_study.total or 0),
            (comparison.native.total or 0) - (base.native.total or 0),
        )
        for comparison in compared
        if comparison is not base
    ]
