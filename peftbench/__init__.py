"""peftbench: which fine-tuning method, at which cost?

The Python door:

    import peftbench
    record = peftbench.run("dora-r12", overrides=["train.epochs=2"])
    other = peftbench.run("lora-r12", overrides=["train.epochs=2"])
    print(peftbench.compare([record, other]).against[0].metrics)

Importing this costs next to nothing; what a function needs is imported when it is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from peftbench.version import __version__

if TYPE_CHECKING:
    from peftbench.analysis.comparison import Comparison
    from peftbench.store.reader import Reader
    from peftbench.store.rows import MeterSettings, RunRecord

__all__ = ["__version__", "compare", "open_store", "run"]


def run(
    preset: str,
    workload: str = "quickstart",
    *,
    data: Sequence[str] = (),
    overrides: Sequence[str] = (),
    seed: int | None = None,
    name: str | None = None,
    database: Path | None = None,
    meter_settings: MeterSettings | None = None,
) -> RunRecord:
    """Train one variant in a worker process and return it as stored, predictions included.

    The arguments are those of `peftbench run`; `meter_settings` (`peftbench.store.rows.MeterSettings`) holds its
    `--idle`, `--sample-ms`, `--lock-clocks` and `--meter-gpu`. A run that fails, or is
    stopped by Ctrl-C, is returned too: look at `record.run.state`.

    Raises:
        UsageError: the spec is wrong, or the name is taken.
        MissingError: a data file is not there, or the database cannot be written.
    """
    from peftbench.jobs.launch import launch
    from peftbench.paths import default_database
    from peftbench.spec import resolve

    where = database or default_database()
    launched = launch(resolve(preset, workload, data=data, overrides=overrides, seed=seed), where, name, meter_settings)
    updates = launched.follow()
    while True:
        try:
            if next(updates, None) is None:
                break
        except KeyboardInterrupt:
            launched.stop()
            updates = launched.follow()
    with open_store(where) as reader:
        return reader.record(reader.run(launched.run_id), predictions=True)


def compare(sides: Sequence[RunRecord | Sequence[RunRecord]], metrics: Sequence[str] = ()) -> Comparison:
    """Compare runs of one workload, the first as baseline; records must hold their predictions.

    Several records in place of one stand together: runs that differ in their seed, or in the fold that they test.
    `metrics` are tasks, or `dev_avg` (`test_avg` of runs with a test split); all of them where none is given.

    Raises:
        RefusedError: they are of different workloads, or one has no finished epoch.
        UsageError: there is no such metric, or a run is on two sides.
    """
    from peftbench.analysis.comparison import compare as compare_records

    return compare_records(sides, metrics)


def open_store(database: Path | None = None) -> Reader:
    """Open the database for reading: a context; `find`, `runs` and `record` are its methods.

    Raises:
        MissingError: the file is there but cannot be read as ours.
    """
    from peftbench.paths import default_database
    from peftbench.store.reader import Reader

    return Reader(database or default_database())
