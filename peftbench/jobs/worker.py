"""The process that executes one run: `python -m peftbench.jobs.worker RUN --db FILE`.

It has no terminal; its output goes to the run's log. Whenever it can, it records the end of its run in the store:
finished, failed with the reason, or stopped by SIGTERM, SIGINT or a stop request.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
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
from peftbench.jobs.same_file import DatabaseGone, SameFile
from peftbench.library_logs import quieten
from peftbench.paths import run_folder
from peftbench.spec.model import RunSpec
from peftbench.store.reader import Reader
from peftbench.store.rows import Run
from peftbench.store.run_log import RunLog, TakenOver
from peftbench.store.writer import Writer
from peftbench.threads import choose_waiting, used_by_others
from peftbench.training.files import remove_checkpoints
from peftbench.training.inputs import of_worker

EXIT_UNWRITTEN = 75  # the end of the run could not be written: the process that started the worker has to do it


def work(run_id: str, database: Path) -> int:
    """Execute a starting run to its end; return the exit code stored for it."""
    with Reader(database) as reader:
        run = reader.run(run_id)
    stops, file = Stops(), SameFile(database)
    try:
        with RunLog(database, run_id) as log:
            stops.install()  # before the claim: a run that is seen running can be stopped
            if not log.claim(this_process()):
                print(f"run {run_id} is not waiting for a worker", file=sys.stderr)
                return EXIT_FAILED
            with Heartbeat(database, run_id, log.attempt, file) as heartbeat:
                return _end(log, stops, run, database, heartbeat)
    except TakenOver as error:
        print(f"{error}: this worker exits", file=sys.stderr)
        return EXIT_FAILED
    except StorageError as error:
        print(reason_of(error), file=sys.stderr)
        return EXIT_UNWRITTEN


def _end(log: RunLog, stops: Stops, run: Run, database: Path, heartbeat: Heartbeat) -> int:
    """Execute the run and record how it ended."""
    try:
        stops.raise_at_once()
        from peftbench.jobs.execute import execute

        print(f"run {run.name} ({run.id}), worker {log.attempt}", flush=True)
        spec = RunSpec.model_validate_json(run.spec_json)
        recorder = StoreRecorder(log, stops, heartbeat)
        reason = execute(
            spec,
            recorder,
            run_folder(database, run.id),
            run.meter_settings,
            run.settings,
            of_worker(run.name, run.conditions),
            run_id=run.id,
            epochs_stored=run.epochs_done,
        )
        stops.ignore()  # the run is complete: a stop request now is too late
        if not heartbeat.file.there():
            raise DatabaseGone(database)
    except TakenOver:
        stops.ignore()
        raise
    except DatabaseGone as error:
        stops.ignore()
        return _without_database(run.id, log.attempt, database, error)
    except (StopSignal, Interrupted) as error:
        stops.ignore()
        asked = log.stop_requested()  # the queue sends a signal too, if the next step takes long
        log.finish("stopped", "asked to stop" if asked else str(error), EXIT_INTERRUPTED)
        return EXIT_INTERRUPTED
    except BaseException as error:
        stops.ignore()
        if not isinstance(error, PeftbenchError):
            traceback.print_exc()
        return _failed(log, database, run, error)
    log.finish("finished", reason)
    remove_checkpoints(run_folder(database, run.id))
    return EXIT_OK


def _without_database(run_id: str, attempt: int, database: Path, error: DatabaseGone) -> int:
    """Report the loss of the database in the log, and in a replacement database if it contains the run."""
    reason = reason_of(error)
    print(reason, file=sys.stderr)
    if not database.exists():
        return EXIT_UNWRITTEN
    try:
        with Reader(database) as reader:
            run = reader.get(run_id)
        if run is None or run.attempt != attempt:
            return EXIT_UNWRITTEN
        with Writer(database, create=False) as writer:
            ended = writer.end(run, "failed", reason, failure="storage", exit_code=EXIT_FAILED)
    except PeftbenchError as trouble:
        print(reason_of(trouble), file=sys.stderr)
        return EXIT_UNWRITTEN
    return EXIT_FAILED if ended else EXIT_UNWRITTEN


def _failed(log: RunLog, database: Path, run: Run, error: BaseException) -> int:
    reason, code = reason_of(error), error.exit_code if isinstance(error, PeftbenchError) else EXIT_FAILED
    if is_out_of_memory(error):
        with Reader(database) as reader:
            progress, predicted = reader.progress(run.id), reader.run(run.id).memory_predicted
        reason = out_of_memory(error, RunSpec.model_validate_json(run.spec_json), progress, predicted)
    print(reason, file=sys.stderr)
    log.finish("failed", reason, code, kind_of(error))
    if isinstance(error, TrainingError):
        remove_checkpoints(run_folder(database, run.id))
    return code


def main() -> int:
    """Parse the command line and execute the run."""
    parser = argparse.ArgumentParser(prog="python -m peftbench.jobs.worker", description=__doc__)
    parser.add_argument("run", help="the run's id")
    parser.add_argument("--db", type=Path, required=True, help="path of the database")
    arguments = parser.parse_args()
    choose_waiting(os.environ, used_by_others)
    print_if_possible()
    quieten()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # closing a terminal must not end it
    try:
        return work(arguments.run, arguments.db)
    except PeftbenchError as error:
        print(error.message, file=sys.stderr)
        return EXIT_UNWRITTEN  # it never started: the database cannot be read or written


def leave(code: int) -> None:
    """End the process without tearing down torch, which takes as long as training a short run.

    By then the store, the meters and their files are closed and their threads have ended. If another non-daemon thread
    is still running, exit normally, which waits for it.
    """
    others = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    if others:
        sys.exit(code)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
