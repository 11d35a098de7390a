"""Print the interpretations: see the package."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

from benchmarks.memory.epoch import reserved_bytes, sst_lengths
from peftbench.memory.parts import BatchShape
from peftbench.memory.typical_lengths import WHOLE
from peftbench.study.memory import BATCH_SIZE, CONTEXT_ROW, ROWS
from peftbench.study.memory_check import as_the_study

MIB = 2**20
SHOWN = ("full", "lora-r12", "dora-r1", "dora-r4", "dora-r12", "dora-r24", "dora-r128")


def padded(*lengths: int) -> BatchShape:
    return BatchShape(tuple((length,) * BATCH_SIZE for length in lengths))


def readings() -> dict[str, Mapping[str, BatchShape]]:
    """Return the batches that the study's figures may refer to. For separate pairs, the longest known text per side."""
    sst, pair, sts = (max(WHOLE[task]) for task in ("sst", "paraphrase", "sts"))
    joint = {"sst": padded(sst), "paraphrase": padded(pair), "sts": padded(sts)}
    separate = {"sst": padded(sst), "paraphrase": padded(91, 95), "sts": padded(70, 56)}
    return {
        "SST, longest": {"sst": padded(sst)},
        "SST, median batch": {"sst": padded(42)},
        "all tasks, joint, longest": joint,
        "all tasks, joint, median": {"sst": padded(42), "paraphrase": padded(49), "sts": padded(54)},
        "all tasks, separate, longest": separate,
    }


def errors(name: str, memory: Callable[[str], int]) -> None:
    """Print one interpretation: MiB beyond the last-layer row, and the error against the study's."""
    study = {row.preset: row.vram_mib for row in ROWS}
    base = memory(CONTEXT_ROW)
    cells = []
    for preset in SHOWN:
        ours, theirs = (memory(preset) - base) / MIB, study[preset] - study[CONTEXT_ROW]
        cells.append(f"{ours:6.0f} {100 * (ours / theirs - 1):+4.0f} %")
    print(f"{name:44}", *cells, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description="Interpretations of Table 2.")
    parser.add_argument("--reserved", action="store_true", help="memory that torch's allocator would reserve (minutes)")
    asked = parser.parse_args(arguments)
    print(f"{'':44}", *(f"{preset:>13}" for preset in SHOWN))
    for name, batches in readings().items() if not asked.reserved else ():
        for formed in (False, True):
            errors(
                f"{name}, {_how(formed)}",
                lambda preset, batches=batches, formed=formed: as_the_study(preset, batches, formed=formed).total or 0,
            )
    if asked.reserved:
        for formed in (False, True):
            order = sst_lengths()
            errors(
                f"SST, an epoch, reserved, {_how(formed)}",
                lambda preset, order=order, formed=formed: reserved_bytes(preset, order, formed=formed),
            )


def _how(formed: bool) -> str:
    return "W formed" if formed else "two paths"


if __name__ == "__main__":
    main()
