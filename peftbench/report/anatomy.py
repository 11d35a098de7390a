"""Predicted memory as tables with bars, in MiB, as nvidia-smi counts (and the study, which prints them as MB)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from peftbench.anatomy.explain import WORDS, paragraphs
from peftbench.anatomy.parts import PARTS, Anatomy, BatchShape, score
from peftbench.anatomy.study import BATCH_SIZE, CONTEXT_ROW, Compared, differences, padded_batch
from peftbench.report import figures
from peftbench.text import clean

if TYPE_CHECKING:
    from peftbench.anatomy.predict import Prediction
    from peftbench.spec.model import RunSpec
    from peftbench.store.rows import Run

BAR = 24
_STACK = {"weights": "█", "gradients": "▓", "optimizer": "▒", "activations": "░", "workspace": "·"}
_NAMES = {"trainable": "  trained", "optimizer": "optimiser"}


def estimate_page(spec: RunSpec, found: Prediction) -> Group:
    """Return one prediction: what was asked, the parts with bars, notes and words."""
    anatomy = found.anatomy
    parts: list[RenderableType] = [_title(spec, found.device), *_batches(found.batches), Text(""), _parts(anatomy)]
    parts += [Text(f"note: {note}", style="dim") for note in _cleaned(found.notes)]
    parts += [Text("")]
    parts += [Text(paragraph) for paragraph in paragraphs(anatomy)]
    return Group(*parts)


def estimates_page(rows: Sequence[tuple[RunSpec, Prediction]]) -> Group:
    """Return several predictions on one workload, a row each."""
    spec, first = rows[0]
    totals = [found.anatomy.total or 0 for _, found in rows]
    shown: list[Sequence[str | Text]] = [
        (
            clean(each.preset, 16),
            *(figures.mib_of(getattr(found.anatomy, name)) for name in _STACK),
            figures.mib_of(found.anatomy.total),
            _stacked(found.anatomy, max(totals), 18),
        )
        for each, found in rows
    ]
    headers = ("preset", "weights", "grads", "optim.", "activ.", "work", "total", "")
    legend = "  ".join(f"{mark} {_NAMES.get(name, name)}" for name, mark in _STACK.items())
    notes = dict.fromkeys(note for _, found in rows for note in _cleaned(found.notes))
    return Group(
        Text.assemble(
            ("A training step's memory, MiB", "bold"),
            f": workload {clean(spec.workload)}, {_place(first.device)}\n",
            (f"encoder {clean(spec.encoder.name)}, runtime {spec.runtime}, {spec.precision}", "dim"),
        ),
        *_batches(first.batches),
        Text(""),
        _table(headers, shown, "lrrrrrrl"),
        Text(legend, style="dim"),
        *(Text(f"note: {note}", style="dim") for note in notes),
    )


def study_page(rows: Sequence[Compared]) -> Group:
    """Return the study's Table 2 beside our predictions of it, each less its last-layer row."""
    found = {row.preset: row for row in differences(rows)}
    widest = max(max(row.study, row.as_study) for row in found.values())
    shown: list[Sequence[str | Text]] = []
    for one in rows:
        row = found.get(one.row.preset)
        beyond = (
            [figures.NOTHING] * 4 + [""]
            if row is None
            else [
                figures.mib_of(row.study),
                figures.mib_of(row.as_study),
                figures.percent(row.error),
                figures.mib_of(row.native),
                _bar(row.study, widest, 16) + "\n" + _bar(row.as_study, widest, 16, "▒"),
            ]
        )
        shown.append((one.row.preset, f"{one.row.vram_mib:,}", *beyond))
    headers = (
        "\npreset",
        "study's\nVRAM",
        "\nbeyond",
        "as the study\nran it",
        "\nerror",
        "native\npath",
        "█ study\n▒ as it ran it",
    )
    base = next(one for one in rows if one.row.preset == CONTEXT_ROW)
    return Group(
        Text.assemble(
            ("The study's Table 2", "bold"),
            f", MiB; beyond its {CONTEXT_ROW} row ({base.row.vram_mib}, the CUDA context in it)",
        ),
        Text(""),
        _table(headers, shown, "lrrrrrl"),
        Text(
            f"As the study ran it: SST alone, {BATCH_SIZE} sentences padded to its longest "
            f"({max(padded_batch().parts[0])} tokens), transformers' forward, attention weights formed, dropout on, "
            "each adapted layer's weight formed. Native path: the same task, its largest batch. See docs/memory.md.",
            style="dim",
        ),
    )


def memory_page(run: Run) -> RenderableType:
    """Return a run's training step in memory: each part as predicted before it and as measured after it."""
    predicted, measured = anatomies(run)
    if predicted is None and measured is None:
        return Text("the memory of this run's steps was neither predicted nor measured")
    errors = score(predicted, measured) if predicted and measured else dict.fromkeys(PARTS)
    rows: list[Sequence[str | Text]] = [
        (
            _NAMES.get(name, name),
            figures.mib_of(getattr(predicted, name) if predicted else None),
            figures.mib_of(getattr(measured, name) if measured else None),
            figures.percent(errors[name]),
            WORDS[name],
        )
        for name in PARTS
    ]
    table = _table(("part", "predicted MiB", "measured", "error", ""), rows, "lrrrl")
    if measured is None or measured.total is not None:
        return table
    return Group(table, Text("no total was measured: on the CPU torch keeps no books of its memory", style="dim"))


def memory_line(run: Run) -> str:
    """Return what a training step takes in one line: predicted, and how well that met what was measured."""
    predicted, measured = anatomies(run)
    if predicted is None:
        return figures.NOTHING
    said = f"{figures.mib_of(predicted.total)} MiB predicted for a step's peak"
    if measured is None:
        return said
    errors = score(predicted, measured)
    if errors["total"] is not None:
        return f"{said}, {figures.percent(errors['total'])} off the measured"
    kept = predicted.kept / measured.kept - 1 if measured.kept else None
    return f"{said} ({figures.mib_of(predicted.kept)} without workspace: {figures.percent(kept)} off the measured)"


def anatomies(run: Run) -> tuple[Anatomy | None, Anatomy | None]:
    """Return a run's predicted and measured anatomy, as far as they are stored."""
    stored = (run.memory_predicted, run.memory_measured)
    predicted, measured = (None if parts is None else Anatomy.from_dict(parts) for parts in stored)
    return predicted, measured


def _title(spec: RunSpec, device: str) -> Text:
    return Text.assemble(
        (clean(spec.preset), "bold"),
        f" on workload {clean(spec.workload)}, {_place(device)}: a training step's memory\n",
        (f"encoder {clean(spec.encoder.name)}, runtime {spec.runtime}, {spec.precision}", "dim"),
    )


def _place(device: str) -> str:
    return "on a GPU" if device == "cuda" else "on the CPU"


def _batches(batches: Mapping[str, BatchShape]) -> list[Text]:
    """Say what the largest batches are."""
    return [
        Text(
            f"largest batch, {clean(task)}: {shape.examples} examples, {shape.tokens} tokens, longest text "
            f"{max(max(part) for part in shape.parts)}",
            style="dim",
        )
        for task, shape in batches.items()
    ]


def _parts(anatomy: Anatomy) -> RenderableType:
    total = anatomy.total or 0
    rows: list[Sequence[str | Text]] = [
        (
            _NAMES.get(name, name),
            figures.mib_of(getattr(anatomy, name)),
            _bar(getattr(anatomy, name) or 0, total, BAR, "░" if name == "trainable" else "█"),
            WORDS[name],
        )
        for name in PARTS
    ]
    return _table(("part", "MiB", "", ""), rows, "lrll")


def _table(headers: Sequence[str], rows: Iterable[Sequence[str | Text]], sides: str) -> Table:
    """Return a table without frame; `sides` says for each column whether it is left- or right-aligned."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for header, side in zip(headers, sides, strict=True):
        table.add_column(Text(header), justify="left" if side == "l" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return table


def _bar(value: int, largest: int, width: int, mark: str = "█") -> str:
    return mark * round(width * value / largest) if largest else ""


def _stacked(anatomy: Anatomy, largest: int, width: int) -> Text:
    """Return the parts in their order as one bar; the rounding of one part is the next one's start."""
    text, reached, drawn = Text(), 0, 0
    for name, mark in _STACK.items():
        reached += getattr(anatomy, name) or 0
        upto = round(width * reached / largest) if largest else 0
        text.append(mark * (upto - drawn))
        drawn = upto
    return text


def _cleaned(notes: Iterable[str]) -> list[str]:
    return [clean(note) for note in notes]
