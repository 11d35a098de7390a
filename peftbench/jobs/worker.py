"""The process that executes one run: `python -m peftbench.jobs.worker RUN --db FILE`.

It has no terminal; what it prints goes to the run's log. It ends its run in the store in every case it
can: finished, failed with the reason, or interrupted by SIGTERM, SIGINT or a stop that somebody asked for.
"""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peftbench.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, Interrupted, PeftbenchError
from peftbench.jobs.liveness import this_process
from peftbench.paths import run_folder
from peftbench.spec.model import RunSpec
from peftbench.store.reader import Reader
from peftbench.store.rows import Epoch, Phase, Prediction, Progress, SampleRow, Score, TaskBest
from peftbench.store.writer import Writer
from peftbench.text import clean

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StoreRecorder:
    """Writes what training tells into the store, and raises where the run was asked to stop."""

    def __init__(self, writer: Writer, run_id: str) -> None:
        self.writer, self.run_id = writer, run_id

    def describe(self, *, conditions: dict[str, Any], **facts: Any) -> None:
        """Store facts of the loaded run."""
        self.writer.describe(self.run_id, **facts)
        self.writer.add_conditions(self.run_id, conditions)

    def closing(self) -> None:
        """Let no signal end the end."""
        _ignore_signals()

    def samples(self, rows: Sequence[SampleRow]) -> None:
        """Store thinned samples of the meters."""
        self.writer.put_samples(self.run_id, rows)

    def ending(self, phase: Phase, samples: Sequence[SampleRow], conditions: dict[str, Any], **facts: Any) -> None:
        """Store what is known only at the end."""
        self.writer.put_ending(self.run_id, phase, samples, conditions, facts)

    def note(self, kind: str, message: str) -> None:
        """Store an event, and print it into the log."""
        print(f"{kind}: {message}", flush=True)
        self.writer.put_event(self.run_id, kind, clean(message, 1000))

    def progress(self, progress: Progress) -> None:
        """Store where the run stands."""
        if self.writer.put_progress(self.run_id, progress):
            raise Interrupted("asked to stop")

    def losses(self, epoch: int, task: str, points: Sequence[tuple[int, int, float]]) -> None:
        """Store a stretch of the loss curve."""
        self.writer.put_losses(self.run_id, epoch, task, points)

    def phases(self, phases: Sequence[Phase]) -> None:
        """Store phases outside an epoch."""
        self.writer.put_phases(self.run_id, phases)

    def epoch(
        self,
        epoch: Epoch,
        scores: Sequence[Score],
        phases: Sequence[Phase],
        *,
        best_epoch: int | None,
        task_bests: Sequence[TaskBest],
        predictions: Sequence[Prediction],
    ) -> None:
        """Store an epoch, and print its line into the log."""
        dev = ", ".join(f"{s.task} {s.value}" for s in scores if s.split == "dev")
        print(f"epoch {epoch.epoch}: dev avg {epoch.dev_avg} ({dev})", flush=True)
        self.writer.put_epoch(
            self.run_id,
            epoch,
            scores,
            phases,
            best_epoch=best_epoch,
            task_bests=task_bests,
            predictions=predictions,
        )


def work(run_id: str, database: Path) -> int:
    """Execute a starting run to its end and return the exit code that the run has in the store."""
    with Reader(database) as reader:
        run = reader.run(run_id)
    with Writer(database) as writer:
        try:
            _stop_on_signals()
            if not writer.claim(run_id, this_process()):
                print(f"run {run_id} is not waiting for a worker", file=sys.stderr)
                return EXIT_FAILED
            from peftbench.training.execute import execute

            spec = RunSpec.model_validate_json(run.spec_json)
            execute(spec, StoreRecorder(writer, run_id), run_folder(database, run_id), run.meter_settings)
            _ignore_signals()  # it is done: a stop that comes now comes too late
        except _StopSignal as error:
            _ignore_signals()
            writer.finish(run_id, "interrupted", str(error), EXIT_INTERRUPTED)
            return EXIT_INTERRUPTED
        except Interrupted as error:
            _ignore_signals()
            writer.finish(run_id, "interrupted", error.message, error.exit_code)
            return error.exit_code
        except PeftbenchError as error:
            _ignore_signals()
            reason = error.message if error.hint is None else f"{error.message} ({error.hint})"
            print(reason, file=sys.stderr)
            writer.finish(run_id, "failed", reason, error.exit_code)
            return error.exit_code
        except BaseException as error:
            _ignore_signals()
            traceback.print_exc()
            writer.finish(run_id, "failed", clean(f"{type(error).__name__}: {error}", 500), EXIT_FAILED)
            return EXIT_FAILED
        writer.finish(run_id, "finished")
        return EXIT_OK


class _StopSignal(BaseException):
    """SIGTERM or SIGINT. No `except Exception` of a library on the way may take it for its own trouble."""


def _stop_on_signals() -> None:
    def stop(number: int, frame: object) -> None:
        _ignore_signals()  # once is enough; the end is being written
        raise _StopSignal(f"stopped by {signal.Signals(number).name}")

    for number in _STOP_SIGNALS:
        signal.signal(number, stop)


def _ignore_signals() -> None:
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def main() -> int:
    """Read the command line and work."""
    parser = argparse.ArgumentParser(prog="python -m peftbench.jobs.worker", description=__doc__)
    parser.add_argument("run", help="the run's id")
    parser.add_argument("--db", type=Path, required=True, help="the database that holds it")
    arguments = parser.parse_args()
    try:
        return work(arguments.run, arguments.db)
    except PeftbenchError as error:
        print(error.message, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
