"""Export a run's curves as TensorBoard event files, with the package tensorboard (no TensorFlow, no torch)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import IO, Any

from peftbench.analysis.scores import has_leaderboard
from peftbench.errors import MissingError
from peftbench.store.meter_fields import SampleRow, meter_fields
from peftbench.store.rows import RunRecord
from peftbench.store.transfer import Row

# One curve for each reading, and what is computed from several.
_METERS = tuple(
    name for name, field in meter_fields(SampleRow).items() if field.of in (name, "") and field.aggregation != "bits"
)


_TRAINING = {
    "loss": "training loss",
    "metric": "training metric",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A point of a curve: `step` is an epoch, an optimiser step or, for meters, seconds since the first sample."""

    tag: str
    step: int
    value: float
    wall_time: float


def curves(record: RunRecord, losses: Iterable[Row], samples: Iterable[Row]) -> dict[str, Iterator[Scalar]]:
    """Return a run's curves by output folder: TensorBoard draws a tag of several folders in one chart.

    Args:
        record: the run.
        losses: the training curve.
        samples: the meter samples.
    """
    return {
        "dev": _scores(record, "dev"),
        "train": _scores(record, "train"),
        "steps": _losses(record, losses),
        "meters": _meters(samples),
    }


def _scores(record: RunRecord, split: str) -> Iterator[Scalar]:
    ends = _epoch_ends(record)
    for epoch in record.epochs if split == "dev" else ():
        board = epoch.leaderboard if has_leaderboard(record.tasks) else None
        for tag, value in (("all tasks/dev avg", epoch.dev_avg), ("all tasks/leaderboard", board)):
            if value is not None:
                yield Scalar(tag, epoch.epoch, value, ends[epoch.epoch])
    for score in record.scores:
        if score.split == split:
            if score.value is not None:
                yield Scalar(f"{score.task}/{score.metric}", score.epoch, score.value, ends[score.epoch])
            yield Scalar(f"{score.task}/loss", score.epoch, score.loss, ends[score.epoch])


def _losses(record: RunRecord, losses: Iterable[Row]) -> Iterator[Scalar]:
    """Yield the training curve; it has no timestamps, and gets that of the end of each point's epoch."""
    ends, start = _epoch_ends(record), started_s(record)
    for row in losses:
        for name, tag in _TRAINING.items():
            if row[name] is not None:
                yield Scalar(f"{row['task']}/{tag}", row["step"], row[name], ends.get(row["epoch"], start))


def _meters(samples: Iterable[Row]) -> Iterator[Scalar]:
    """Yield the meter curves; missing values have no point."""
    first: float | None = None
    for row in samples:
        first = row["at_s"] if first is None else first
        for name in _METERS:
            if row[name] is not None:
                yield Scalar(f"meters/{name}", round(row["at_s"] - first), row[name], row["at_s"])


def _epoch_ends(record: RunRecord) -> dict[int, float]:
    return {row.epoch: _seconds(row.finished_at) for row in record.epochs}


def write_folders(record: RunRecord, losses: Iterable[Row], samples: Iterable[Row], folder: Path) -> dict[str, int]:
    """Write one event file per kind of curve with points, in its own folder; return the number of points by kind.

    Raises:
        MissingError: the package tensorboard is not installed.
    """
    began_s, counts = started_s(record), {}
    for kind, points in curves(record, losses, samples).items():
        first = next(points, None)
        if first is not None:
            path = folder / kind / f"events.out.tfevents.{int(began_s)}.{record.run.id}"
            path.parent.mkdir()
            with path.open("wb") as file:
                counts[kind] = write_events(chain([first], points), began_s, file)
    return counts


def write_events(points: Iterable[Scalar], began_s: float, file: IO[bytes]) -> int:
    """Write an event file; return its number of points.

    Args:
        points: in any order.
        began_s: Unix time of the file's first event.
        file: the output.

    Raises:
        MissingError: the package tensorboard is not installed.
    """
    event, summary, writer = _tensorboard()
    records = writer(file)
    records.write(event(wall_time=began_s, file_version="brain.Event:2").SerializeToString())
    count = 0
    for point in points:
        count += 1
        value = summary.Value(tag=point.tag, simple_value=point.value)
        record = event(wall_time=point.wall_time, step=point.step, summary=summary(value=[value]))
        records.write(record.SerializeToString())
    return count


def started_s(record: RunRecord) -> float:
    """Return a run's start as Unix time."""
    return _seconds(record.run.started_at or record.run.created_at)


def _tensorboard() -> tuple[Any, Any, Any]:
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError as error:
        raise MissingError(
            "--format tensorboard needs the package tensorboard", "pip install 'peftbench[tensorboard]'"
        ) from error
    return Event, Summary, RecordWriter


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
