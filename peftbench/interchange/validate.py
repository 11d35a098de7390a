"""Validate an imported run: consistent with what peftbench stores, and displayable on every screen."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from peftbench.errors import DataError, PeftbenchError
from peftbench.metrics import METRICS
from peftbench.spec.stored import hashes, stored_spec
from peftbench.store.rows import ACTIVE_STATES, LONGEST_STORED_NAME, Run, RunRecord
from peftbench.text import clean

LONGEST_WORD = 500


def judge(record: RunRecord) -> None:
    """Check that a run is valid: types, spec and spec hashes, consistency of its rows.

    Raises:
        DataError: it is not; the message gives the reason.
    """
    _check_types(record)
    _check_spec(record.run)
    for what in _inconsistencies(record):
        raise DataError(what)
    _check_displayable(record)


def _check_types(record: RunRecord) -> None:
    try:
        TypeAdapter(RunRecord).validate_json(json.dumps(dataclasses.asdict(record)), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        location = ".".join(map(str, first["loc"]))
        raise DataError(f"{clean(location, 80)}: {clean(first['msg'], 120)}") from error


def _check_spec(run: Run) -> None:
    try:
        spec = stored_spec(run.spec_json)
    except (ValidationError, PeftbenchError, RecursionError, ValueError) as error:
        raise DataError(f"its spec is not valid in this version of peftbench: {clean(error, 200)}") from error
    if (run.spec_hash, run.group_hash) not in hashes(spec):
        raise DataError("its spec does not match the stored hash")
    expected = {
        "preset": spec.preset,
        "workload": spec.workload,
        "method": spec.method.name,
        "encoder": spec.encoder.name,
        "seed": spec.seed,
    }
    for name, value in expected.items():
        if getattr(run, name) != value:
            raise DataError(f"its {name} does not match its spec")


def _inconsistencies(record: RunRecord) -> Iterator[str]:
    """Yield a message for each inconsistency."""
    run, epochs, tasks = record.run, {row.epoch for row in record.epochs}, set(record.tasks)
    if run.state in ACTIVE_STATES:
        yield f"it is {run.state}, and only runs that have ended are exported"
    if run.name == "latest":
        yield "its name is 'latest', which is reserved"
    if run.best_epoch is not None and run.best_epoch not in epochs:
        yield f"its best epoch, {run.best_epoch}, is not one of its epochs"
    if not all(0 < epoch < 10**6 for epoch in epochs) or run.epochs_done not in {0, *epochs}:
        yield "its epochs have invalid numbers"
    scored = {(row.task, row.epoch) for row in record.scores} | {(row.task, row.epoch) for row in record.task_bests}
    for task, epoch in scored:
        if task not in tasks or epoch not in epochs:
            yield f"it has a score for task {clean(task, 40)} in epoch {epoch}, which does not exist"
    words = [(run.name, LONGEST_STORED_NAME), *((word, LONGEST_WORD) for word in _identifiers(record))]
    for word, longest in words:
        if clean(word) != word or len(word) > longest:
            yield f"it has an unprintable or too long name: {clean(word, 60)}"
    times = (run.created_at, run.started_at, run.finished_at, run.state_at)
    for at in (*times, *(row.finished_at for row in record.epochs), *(row.at for row in record.events)):
        if at is not None and not _is_time(at):
            yield f"it has an invalid time: {clean(at, 60)}"
    for metric in sorted({row.metric for row in record.scores} - METRICS.keys()):
        yield f"its metric '{clean(metric, 40)}' is unknown"


def _identifiers(record: RunRecord) -> Iterator[str]:
    """Yield the values, besides the run's name, that are displayed as identifiers rather than free text."""
    run = record.run
    yield from (word for word in (run.sweep, run.device, run.data_hash) if word is not None)
    yield from run.origins
    for phase in record.phases:
        yield from (word for word in (phase.phase, phase.task, phase.split) if word is not None)
    for score in record.scores:
        yield from (score.split, score.metric)
    yield from (event.kind for event in record.events)


def _is_time(at: str) -> bool:
    try:
        return datetime.fromisoformat(at).tzinfo is not None
    except ValueError:
        return False


def _check_displayable(record: RunRecord) -> None:
    """Render every view of the run once, so that one invalid row cannot break the listings of the whole database.

    Raises:
        DataError: a view cannot be rendered.
    """
    from rich.console import Console, RenderableType

    from peftbench.analysis.comparison import compare
    from peftbench.analysis.forecast import wall_s
    from peftbench.report import comparison, resources, tables
    from peftbench.report.formats import json as jsonable
    from peftbench.report.memory import memory_page

    console = Console(file=io.StringIO(), width=80)
    alone = dataclasses.replace(record, predictions={}, test_predictions={})
    try:
        wall_s(record.run)
        json.dumps(jsonable.run_full(record))
        pages: list[RenderableType] = [tables.run_list([record.run])]
        pages += [tables.run_page(record), resources.phases(record)]
        if record.run.best_epoch is not None:
            pages.append(comparison.shown(compare([alone, alone])))
        for page in (*pages, memory_page(record.run)):
            console.print(page)
    except Exception as error:  # an imported row may trigger any error in rendering
        raise DataError(f"it cannot be displayed ({type(error).__name__}: {clean(error, 120)})") from error
