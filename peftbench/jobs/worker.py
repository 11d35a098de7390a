"""The process that executes one run: `python -m peftbench.jobs.worker RUN --db FILE`.

It has no terminal; what it prints goes to the run's log. It ends its run in the store in every case it
can: finished, failed with the reason, or stopped by SIGTERM, SIGINT or a stop that somebody asked for.
"""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from pathlib import Path

from peftbench.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    Interrupted,
    PeftbenchError,
    StorageError,
    TrainingError,
)
from peftbench.jobs.failures import is_out_of_memory, kind_of, out_of_memory, reason_of
from peftbench.jobs.heartbeat import Heartbeat
from peftbench.jobs.liveness import this_process
from peftbench.jobs.logs import print_if_possible
from peftbench.jobs.recorder import Stops, StopSignal, StoreRecorder
from peftbench.paths import run_folder
from peftbench.spec.model import RunSpec
from peftbench.store.reader import Reader
from peftbench.store.rows import Run
from peftbench.store.run_log import RunLog, TakenOver
from peftbench.training.files import remove_snapshots

EXIT_UNWRITTEN = 75  # the end of the run could not be written: whoever started the worker has to


def work(run_id: str, database: Path) -> int:
    """Execute a starting run to its end and return the exit code that the run has in the store."""
    with Reader(database) as reader:
        run = reader.run(run_id)
    stops = Stops()
    try:
        with RunLog(database, run_id) as log:
            if not log.claim(this_process()):
                print(f"run {run_id} is not waiting for a worker", file=sys.stderr)
                return EXIT_FAILED
            stops.listen()
            with Heartbeat(database, run_id, log.session) as heartbeat:
                return _end(log, stops, run, database, heartbeat)
    except TakenOver as error:
        print(f"{error}: it leaves", file=sys.stderr)
        return EXIT_FAILED
    except StorageError as error:
        print(reason_of(error), file=sys.stderr)
        return EXIT_UNWRITTEN


def _end(log: RunLog, stops: Stops, run: Run, database: Path, heartbeat: Heartbeat) -> int:
    """Execute and write how it ended."""
    try:
        from peftbench.training.execute import execute

        print(f"run {run.name} ({run.id}), worker {log.session}", flush=True)
        spec = RunSpec.model_validate_json(run.spec_json)
        recorder = StoreRecorder(log, stops, heartbeat)
        reason = execute(spec, recorder, run_folder(database, run.id), run.meter_settings, run.settings)
        stops.ignore()  # it is done: a stop that comes now comes too late
    except TakenOver:
        stops.ignore()
        raise
    except (StopSignal, Interrupted) as error:
        stops.ignore()
        log.finish("stopped", str(error), EXIT_INTERRUPTED)
        return EXIT_INTERRUPTED
    except BaseException as error:
        stops.ignore()
        if not isinstance(error, PeftbenchError):
            traceback.print_exc()
        return _failed(log, database, run, error)
    log.finish("finished", reason)
    remove_snapshots(run_folder(database, run.id))
    return EXIT_OK


def _failed(log: RunLog, database: Path, run: Run, error: BaseException) -> int:
    reason, code = reason_of(error), error.exit_code if isinstance(error, PeftbenchError) else EXIT_FAILED
    if is_out_of_memory(error):
        with Reader(database) as reader:
            progress, predicted = reader.progress(run.id), reader.run(run.id).memory_predicted
        reason = out_of_memory(error, RunSpec.model_validate_json(run.spec_json), progress, predicted)
    print(reason, file=sys.stderr)
    log.finish("failed", reason, code, kind_of(error))
    if isinstance(error, TrainingError):
        remove_snapshots(run_folder(database, run.id))
    return code


def main() -> int:
    """Read the command line and work."""
    parser = argparse.ArgumentParser(prog="python -m peftbench.jobs.worker", description=__doc__)
    parser.add_argument("run", help="the run's id")
    parser.add_argument("--db", type=Path, required=True, help="the database that holds it")
    arguments = parser.parse_args()
    print_if_possible()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that closes is not its business
    try:
        return work(arguments.run, arguments.db)
    except PeftbenchError as error:
        print(error.message, file=sys.stderr)
        return EXIT_UNWRITTEN  # it never began: the database cannot be read or written


if __name__ == "__main__":
    sys.exit(main())
