"""The memory of the study's Table 2, and how it is read here. Light: no torch.

Source: Ryu, "task-specific LoRA/DoRA for multitask BERT", Stanford CS224N, Table 2. The figures are nvidia-smi's, in
MiB (printed as MB): what torch's allocator had reserved at most, and the CUDA context. The table says neither on which
task they were taken nor how an adapter is computed; docs/memory.md weighs the readings. The one that is used:

- SST alone: the table's speed is SST's, and SST is trained first. Every task's adapters are there, SST's alone have
  gradients and optimiser state: that is what the rows' growth with the rank says too;
- the largest batch counts: 8 sentences padded to the longest of SST's training sentences;
- the course's BERT: attention weights are formed and kept, the encoder's dropout is on;
- an adapted layer forms its weight, W0 + B A or m (W0 + B A) / ||W0 + B A||, and multiplies by it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.anatomy.lengths import WHOLE
from peftbench.anatomy.parts import Anatomy, BatchShape

WORKLOAD = "paper"
TASK = "sst"
BATCH_SIZE = 8
CONTEXT_ROW = "last-layer"  # trains next to nothing: what it shows beyond weights is the constant of all rows


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A row of Table 2: the preset that repeats it, and its memory in MiB, the CUDA context included."""

    preset: str
    vram_mib: int


ROWS = (
    StudyRow("last-layer", 814),
    StudyRow("full", 2622),
    StudyRow("lora-r12", 1222),
    StudyRow("dora-r1", 1218),
    StudyRow("dora-r4", 1222),
    StudyRow("dora-r12", 1232),
    StudyRow("dora-r24", 1248),
    StudyRow("dora-r128", 1384),
)


def padded_batch() -> BatchShape:
    """Return the batch that the study's figures are held to."""
    return BatchShape(((WHOLE[TASK][-1],) * BATCH_SIZE,))


@dataclass(frozen=True, slots=True)
class Compared:
    """A row of the study beside our predictions of it: as the study ran it, and on the native path, on a GPU."""

    row: StudyRow
    as_study: Anatomy
    native: Anatomy


@dataclass(frozen=True, slots=True)
class Difference:
    """What a row takes beyond the last-layer row, in bytes: the study's, ours as it ran it, ours natively."""

    preset: str
    study: int
    as_study: int
    native: int

    @property
    def error(self) -> float:
        """The prediction's relative error."""
        return self.as_study / self.study - 1


def differences(rows: Sequence[Compared]) -> list[Difference]:
    """Return each row less the last-layer row: the CUDA context, the same in all of them, is gone.

    Raises:
        StopIteration: the last-layer row is not among them.
    """
    base = next(one for one in rows if one.row.preset == CONTEXT_ROW)
    return [
        Difference(
            one.row.preset,
            (one.row.vram_mib - base.row.vram_mib) * 2**20,
            (one.as_study.total or 0) - (base.as_study.total or 0),
            (one.native.total or 0) - (base.native.total or 0),
        )
        for one in rows
        if one is not base
    ]
