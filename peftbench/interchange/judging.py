"""Whether a run from elsewhere is one that peftbench could have stored, and that every screen can show."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from peftbench.errors import DataError, PeftbenchError
from peftbench.spec.model import RunSpec
from peftbench.store.rows import ACTIVE_STATES, Run, RunRecord
from peftbench.text import clean

LONGEST_WORD = 500


def judge(record: RunRecord) -> None:
    """See that a run is sound: its types, its spec and the spec's hashes, what its rows say of each other.

    Raises:
        DataError: it is not; the message says what is wrong.
    """
    _check_types(record)
    _check_spec(record.run)
    for what in _strange(record):
        raise DataError(what)
    _check_shown(record)


def _check_types(record: RunRecord) -> None:
    try:
        TypeAdapter(RunRecord).validate_json(json.dumps(dataclasses.asdict(record)), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{clean(place, 80)}: {clean(first['msg'], 120)}") from error


def _check_spec(run: Run) -> None:
    try:
        spec = RunSpec.model_validate_json(run.spec_json)
    except (ValidationError, PeftbenchError, RecursionError) as error:
        raise DataError(f"its spec is none that this peftbench knows: {clean(error, 200)}") from error
    if (spec.hash(), spec.group_hash()) != (run.spec_hash, run.group_hash):
        raise DataError("its spec does not have the hash that it is stored with")
    said = {
        "preset": spec.preset,
        "workload": spec.workload,
        "method": spec.method.name,
        "encoder": spec.encoder.name,
        "seed": spec.seed,
    }
    for name, value in said.items():
        if getattr(run, name) != value:
            raise DataError(f"its {name} is not that of its spec")


def _strange(record: RunRecord) -> Iterator[str]:
    """Yield what contradicts itself."""
    run, epochs, tasks = record.run, {row.epoch for row in record.epochs}, set(record.tasks)
    if run.state in ACTIVE_STATES:
        yield f"it is {run.state}, and only runs that have ended are exported"
    if run.name == "latest":
        yield "no run is called latest"
    if run.best_epoch is not None and run.best_epoch not in epochs:
        yield f"its best epoch, {run.best_epoch}, is none of its epochs"
    if not all(0 < epoch < 10**6 for epoch in epochs) or run.epochs_done not in {0, *epochs}:
        yield "its epochs are not numbered as epochs are"
    scored = {(row.task, row.epoch) for row in record.scores} | {(row.task, row.epoch) for row in record.task_bests}
    for task, epoch in scored:
        if task not in tasks or epoch not in epochs:
            yield f"it has a score of task {clean(task, 40)} in epoch {epoch}, which it does not have"
    for word in _words(record):
        if clean(word) != word or len(word) > LONGEST_WORD:
            yield f"it has a name that cannot be printed: {clean(word, 60)}"
    times = (run.created_at, run.started_at, run.finished_at, run.state_at)
    for at in (*times, *(row.finished_at for row in record.epochs), *(row.at for row in record.events)):
        if at is not None and not _is_time(at):
            yield f"it has a time that is none: {clean(at, 60)}"


def _words(record: RunRecord) -> Iterator[str]:
    """Yield what is printed as a word, not as somebody's text."""
    run = record.run
    yield from (word for word in (run.name, run.sweep, run.device, run.data_hash) if word is not None)
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


def _check_shown(record: RunRecord) -> None:
    """Make every page of it once: one strange row must not keep all others of the database from being listed.

    Raises:
        DataError: a page cannot be made.
    """
    from rich.console import Console, RenderableType

    from peftbench.analysis.comparison import compare
    from peftbench.analysis.forecast import wall_s
    from peftbench.report import compared, jsonable, resources, tables
    from peftbench.report.anatomy import memory_page

    console = Console(file=io.StringIO(), width=80)
    alone = dataclasses.replace(record, predictions={})
    try:
        wall_s(record.run)
        json.dumps(jsonable.run_full(record))
        pages: list[RenderableType] = [tables.run_list([record.run])]
        pages += [tables.run_page(record), resources.phases(record)]
        if record.run.best_epoch is not None:
            pages.append(compared.shown(compare([alone, alone])))
        for page in (*pages, memory_page(record.run)):
            console.print(page)
    except Exception as error:  # whatever a stranger's row makes a page stumble over
        raise DataError(f"it cannot be shown ({type(error).__name__}: {clean(error, 120)})") from error
