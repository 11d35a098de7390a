"""Predicted memory as tables with bars, in MiB as in nvidia-smi (the study labels the same unit MB)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from peftbench import formatting
from peftbench.families import counted_in_layers
from peftbench.memory.explain import WORDS, paragraphs
from peftbench.memory.parts import PARTS, Anatomy, BatchShape, score
from peftbench.report.adapters import adapted_lines
from peftbench.text import clean

if TYPE_CHECKING:
    from peftbench.memory.predict import StepPrediction
    from peftbench.spec.model import RunSpec
    from peftbench.store.rows import Run

BAR = 24
_STACK = {"weights": "█", "gradients": "▓", "optimizer": "▒", "activations": "░", "workspace": "·"}
_NAMES = {"trainable": "  trained", "optimizer": "optimiser"}


def estimate_page(spec: RunSpec, prediction: StepPrediction) -> Group:
    """Return one prediction: settings, components with bars, notes and explanation."""
    anatomy = prediction.anatomy
    parts: list[RenderableType] = [
        _title(spec, prediction.device),
        *_batches(prediction.batches),
        *adapted_lines(counted_in_layers(prediction.adapted)),
        Text(""),
        _parts(anatomy),
    ]
    parts += [Text(f"note: {note}", style="dim") for note in _cleaned(prediction.notes)]
    parts += [Text("")]
    parts += [Text(paragraph) for paragraph in paragraphs(anatomy)]
    return Group(*parts)


def estimates_page(rows: Sequence[tuple[RunSpec, StepPrediction]]) -> Group:
    """Return several predictions on one workload, one row each."""
    spec, first = rows[0]
    totals = [prediction.anatomy.total or 0 for _, prediction in rows]
    shown: list[Sequence[str | Text]] = [
        (
            clean(each.preset, 16),
            *(formatting.mib_of(getattr(prediction.anatomy, name)) for name in _STACK),
            formatting.mib_of(prediction.anatomy.total),
            _stacked(prediction.anatomy, max(totals), 18),
        )
        for each, prediction in rows
    ]
    headers = ("preset", "weights", "grads", "optim.", "activ.", "work", "total", "")
    legend = "  ".join(f"{mark} {_NAMES.get(name, name)}" for name, mark in _STACK.items())
    notes = dict.fromkeys(note for _, prediction in rows for note in _cleaned(prediction.notes))
    return Group(
        Text.assemble(
            ("A training step's memory, MiB", "bold"),
            f": workload {clean(spec.workload)}, {_device_in_words(first.device)}\n",
            (_computed_by(spec), "dim"),
        ),
        *_batches(first.batches),
        Text(""),
        table(headers, shown, "lrrrrrrl"),
        Text(legend, style="dim"),
        *(Text(f"note: {note}", style="dim") for note in notes),
    )


def memory_page(run: Run) -> RenderableType:
    """Return the memory of a run's training step: each component as predicted before and measured during the run."""
    predicted, measured = anatomies(run)
    if predicted is None and measured is None:
        return Text("step memory was neither predicted nor measured for this run")
    errors = score(predicted, measured) if predicted and measured else dict.fromkeys(PARTS)
    rows: list[Sequence[str | Text]] = [
        (
            _NAMES.get(name, name),
            formatting.mib_of(getattr(predicted, name) if predicted else None),
            formatting.mib_of(getattr(measured, name) if measured else None),
            formatting.percent(errors[name]),
            WORDS[name],
        )
        for name in PARTS
    ]
    shown = table(("part", "predicted MiB", "measured", "error", ""), rows, "lrrrl")
    if measured is None or measured.total is not None:
        return shown
    return Group(shown, Text("no total was measured: torch does not track its allocations on the CPU", style="dim"))


def memory_line(run: Run) -> str:
    """Return the memory of a training step in one line: the prediction, and its error against the measurement."""
    predicted, measured = anatomies(run)
    if predicted is None:
        return formatting.NOTHING
    line = f"{formatting.mib_of(predicted.total)} MiB predicted for a step's peak"
    if measured is None:
        return line
    errors = score(predicted, measured)
    if errors["total"] is not None:
        return f"{line}, {formatting.percent(errors['total'])} from the measured"
    kept = predicted.kept / measured.kept - 1 if measured.kept else None
    return (
        f"{line} ({formatting.mib_of(predicted.kept)} without workspace: {formatting.percent(kept)} from the measured)"
    )


def anatomies(run: Run) -> tuple[Anatomy | None, Anatomy | None]:
    """Return a run's predicted and measured memory by component; None if not stored."""
    stored = (run.memory_predicted, run.memory_measured)
    predicted, measured = (None if parts is None else Anatomy.from_dict(parts) for parts in stored)
    return predicted, measured


def _title(spec: RunSpec, device: str) -> Text:
    return Text.assemble(
        (clean(spec.preset), "bold"),
        f" on workload {clean(spec.workload)}, {_device_in_words(device)}: a training step's memory\n",
        (_computed_by(spec), "dim"),
    )


def _computed_by(spec: RunSpec) -> str:
    precision = spec.quantization.named(spec.precision)
    return f"encoder {clean(spec.encoder.name)}, runtime {spec.runtime}, {precision}"


def _device_in_words(device: str) -> str:
    return "on a GPU" if device == "cuda" else "on the CPU"


def _batches(batches: Mapping[str, BatchShape]) -> list[Text]:
    """Return a line describing the largest batch of each task."""
    return [
        Text(
            f"largest batch, {clean(task)}: {shape.examples} examples, {shape.tokens} tokens"
            f"{'' if shape.window is None else f' in {sum(map(len, shape.inputs()))} windows'}, longest text "
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
            formatting.mib_of(getattr(anatomy, name)),
            bar(getattr(anatomy, name) or 0, total, BAR, "░" if name == "trainable" else "█"),
            WORDS[name],
        )
        for name in PARTS
    ]
    return table(("part", "MiB", "", ""), rows, "lrll")


def table(headers: Sequence[str], rows: Iterable[Sequence[str | Text]], sides: str) -> Table:
    """Return a table without frame; `sides` has the alignment of each column, `l` or `r`."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for header, side in zip(headers, sides, strict=True):
        table.add_column(Text(header), justify="left" if side == "l" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return table


def bar(value: int, largest: int, width: int, mark: str = "█") -> str:
    """Return a value as a bar; `largest` fills the width."""
    return mark * round(width * value / largest) if largest else ""


def _stacked(anatomy: Anatomy, largest: int, width: int) -> Text:
    """Return the components as one stacked bar, with cumulative rounding."""
    text, reached, drawn = Text(), 0, 0
    for name, mark in _STACK.items():
        reached += getattr(anatomy, name) or 0
        upto = round(width * reached / largest) if largest else 0
        text.append(mark * (upto - drawn))
        drawn = upto
    return text


def _cleaned(notes: Iterable[str]) -> list[str]:
    return [clean(note) for note in notes]
