"""Terminal table of the study's Table 2 beside our predictions."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from peftbench import formatting
from peftbench.report.memory import bar, table
from peftbench.study.memory import BATCH_SIZE, CONTEXT_ROW, MemoryComparison, differences, padded_batch


def study_page(rows: Sequence[MemoryComparison]) -> Group:
    """Return the study's Table 2 beside our predictions, each minus its last-layer row."""
    by_preset = {row.preset: row for row in differences(rows)}
    widest = max(max(row.study, row.as_study) for row in by_preset.values())
    shown: list[Sequence[str | Text]] = []
    for compared in rows:
        row = by_preset.get(compared.row.preset)
        beyond = (
            [formatting.NOTHING] * 4 + [""]
            if row is None
            else [
                formatting.mib_of(row.study),
                formatting.mib_of(row.as_study),
                formatting.percent(row.error),
                formatting.mib_of(row.native),
                bar(row.study, widest, 16) + "\n" + bar(row.as_study, widest, 16, "▒"),
            ]
        )
        shown.append((compared.row.preset, f"{compared.row.vram_mib:,}", *beyond))
    headers = (
        "\npreset",
        "study's\nVRAM",
        "\nbeyond",
        "as the study\nran it",
        "\nerror",
        "native\npath",
        "█ study\n▒ as it ran it",
    )
    base = next(compared for compared in rows if compared.row.preset == CONTEXT_ROW)
    return Group(
        Text.assemble(
            ("The study's Table 2", "bold"),
            f", MiB; beyond its {CONTEXT_ROW} row ({base.row.vram_mib}, including the CUDA context)",
        ),
        Text(""),
        table(headers, shown, "lrrrrrl"),
        Text(
            f"As the study ran it: SST only, {BATCH_SIZE} sentences padded to its longest "
            f"({max(padded_batch().parts[0])} tokens), transformers' forward, attention weights materialised, dropout "
            "on, adapted weights materialised. Native path: the same task, its largest batch. See "
            "docs/explanation/memory.md.",
            style="dim",
        ),
    )
