"""The table of what PEFT's adapter types can do, for the terminal and as a page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from peftbench.methods.peft_types import Capability
from peftbench.report.plain_table import plain_table
from peftbench.text import clean

NOTE = "<!-- Written by `peftbench methods --check --markdown`. -->"
_HEADERS = ("type", "trains", "task sets", "merges", "weights")


def table(rows: Sequence[Capability]) -> Table:
    """Return the table for a terminal."""
    cells = [(*_cells(row), clean(row.reason)) for row in rows]
    return plain_table((*_HEADERS, "why not"), cells, left=6)


def markdown_page(rows: Sequence[Capability], version: str) -> str:
    """Return the page of the documentation.

    Args:
        rows: of all types.
        version: of the installed PEFT.
    """
    done = sum(row.runs for row in rows)
    columns = ("type", "paper", *_HEADERS[1:], "DoRA", "quantized base", "preset", "why not")
    lines = [columns, ("---",) * len(columns), *(_markdown_cells(row) for row in rows)]
    return "\n".join(
        [
            *("# Adapter types of PEFT", "", NOTE, ""),
            f"Each adapter type of peft {version}, and each start of its LoRA, trained for an epoch on a small random "
            f"BERT (two layers, hidden 32): {done} of {len(rows)} train. `peftbench methods --check` does that with "
            'the installed version. `[method] name = "peft"` runs those without a method of their own.',
            "",
            "- trains: it takes part in training and changes the encoder's output.",
            "- task sets: each task has its own weights, and training one leaves the outputs of the others as they "
            "are, to the bit.",
            "- merges: merged into the encoder, it computes the same (`--format merged`).",
            "- weights: trained for a task in that small encoder, at the settings of the check.",
            "- DoRA: PEFT has `use_dora` for it.",
            "- quantized base: PEFT has layers for these libraries. Not tried here; which methods run on encoders "
            "quantized by bnb and torchao is in methods.md.",
            "",
            *(f"| {' | '.join(line)} |" for line in lines),
            "",
        ]
    )


def _cells(row: Capability) -> tuple[str, ...]:
    return (
        clean(row.name),
        _word(row.runs),
        _word(row.switchable),
        _word(row.mergeable),
        "" if row.weights is None else f"{row.weights:,}",
    )


def _markdown_cells(row: Capability) -> tuple[str, ...]:
    name, *others = _cells(row)
    preset = f"`{row.preset}`" if row.preset else ""
    reason = clean(row.reason).replace("|", "\\|").replace("<", "&lt;")
    return (f"`{name}`", row.paper, *others, _word(row.dora), ", ".join(row.quantized), preset, reason)


def _word(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"
