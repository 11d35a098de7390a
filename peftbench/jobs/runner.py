"""What drains the queue: `python -m peftbench.jobs.runner --db FILE`, one for each database and host.

It starts a worker for each run in its turn, sees how each one ends, writes the end of those that could not do it
themselves, resumes those that were killed, and presses the stops that were asked for. It is started by whoever needs
it and goes when nothing is left to do. If it is killed, its workers go on, and whoever looks next starts another.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from peftbench.errors import EXIT_FAILED, EXIT_INTERRUPTED, MissingError, PeftbenchError, StorageError
from peftbench.jobs.liveness import GONE_S, SILENT_S, STARTING_GRACE_S, liveness, state_shown
from peftbench.jobs.lock import RunnerLock
from peftbench.jobs.logs import print_if_possible
from peftbench.jobs.places import Device, allowed_devices, cards_here, free_place, threads_each
from peftbench.jobs.surroundings import Surroundings, kept
from peftbench.jobs.worker import EXIT_UNWRITTEN
from peftbench.paths import run_folder, worker_log
from peftbench.store.reader import Reader
from peftbench.store.rows import ACTIVE_STATES, Failure, Run
from peftbench.store.writer import Writer
from peftbench.training.files import remove_snapshots

POLL_S = 0.25
LOOK_AROUND_S = 2.0  # between two looks at workers that are not its children
IDLE_S = 2.0  # without anything to do, until it goes
TROUBLE_S = 5.0  # until it tries again where the database cannot be read or written
TROUBLES = 120
COOLDOWN_GPU_S = 10.0
STOP_HEARD_S = 1.5  # after a stop was asked for, until SIGTERM
STOP_GRACE_S = 60.0  # and until SIGKILL: a checkpoint of a large model takes a while on a slow disk


class Runner:
    """Drains the queue of one database on this host.

    Args:
        database: the file.
        cards: the UUIDs of this machine's cards.
    """

    def __init__(self, database: Path, cards: Sequence[str]) -> None:
        self.database, self.cards, self.host = database, tuple(cards), platform.node()
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping_since: dict[tuple[str, int], float] = {}  # by run and session, on a clock that does not jump
        self._terminated: set[tuple[str, int]] = set()
        self._heard: dict[str, tuple[tuple[str | None, str | None], float]] = {}
        self._cool_at: dict[Device, float] = {}
        self._looked_at = -LOOK_AROUND_S
        self._kills_by_kernel = _kills_by_kernel()

    def tick(self, reader: Reader, writer: Writer) -> bool:
        """Do what there is to do now; False where nothing is queued and no worker of this host is left."""
        self._reap(reader, writer)
        working = reader.working()
        if time.monotonic() - self._looked_at >= LOOK_AROUND_S:
            self._looked_at = time.monotonic()
            for run in working:
                self._look_at(run, writer)
        here = [run for run in working if run.worker is None or run.worker.host == self.host]
        for run in here:
            if run.state == "stopping":
                self._press_stop(run, writer)
        known = {run.id for run in here}
        # a run may have ended whose process still is: until that is gone its device is not free
        here += [gone for run_id in self.children if run_id not in known and (gone := reader.get(run_id)) is not None]
        first = reader.first_queued()
        if first is not None and first.id not in self.children:
            self._start(first, here, reader, writer)
        return bool(first or here or self.children)

    def _start(self, run: Run, working: Sequence[Run], reader: Reader, writer: Writer) -> None:
        """Start the first run of the queue, if there is a place for it."""
        settings = reader.queue_settings(self.host)
        slots = settings.slots if settings.slots is not None else max(1, len(self.cards))
        resting_s = settings.cooldown_s if settings.cooldown_s is not None else COOLDOWN_GPU_S if self.cards else 0.0
        moment = time.monotonic()
        cooling = {device for device, ended_at in self._cool_at.items() if moment - ended_at < resting_s}
        try:
            surroundings = kept(run_folder(self.database, run.id))
            place = free_place(run, working, allowed_devices(self.cards, surroundings.variables), slots, cooling)
        except MissingError as error:
            writer.end(run, "failed", f"it cannot be started: {error}", failure="defect", exit_code=EXIT_FAILED)
            return
        if place is None or not writer.start(run.id, place.device):
            return
        started = reader.run(run.id)
        try:
            self.children[run.id] = start_worker(self.database, run.id, surroundings, place.device, slots)
        except (FileNotFoundError, PermissionError) as error:
            reason = f"its worker cannot be started: {error}"
            writer.end(started, "failed", reason, failure="defect", exit_code=EXIT_FAILED)
        except OSError as error:  # no memory, no room: another time may do
            reason = f"its worker could not be started yet: {error}"
            writer.back_to_queue(started, reason, first=True, by_itself=False)
            raise StorageError(f"run {run.name} ({run.id}): {reason}") from error

    def _reap(self, reader: Reader, writer: Writer) -> None:
        """See to children that have ended."""
        for run_id, process in list(self.children.items()):
            code = process.poll()
            if code is None:
                continue
            run = reader.get(run_id)
            if run is not None:
                self._cool_at[run.device] = time.monotonic()
                its_own = run.worker is None or run.worker.pid == process.pid
                if its_own and run.state in ACTIVE_STATES and run.state != "queued":
                    self._ended(run, code, writer)
                elif run.state == "finished":  # its worker may have been killed before it tidied up
                    remove_snapshots(run_folder(self.database, run_id))
            del self.children[run_id]
        self._kills_by_kernel = _kills_by_kernel()

    def _ended(self, run: Run, code: int, writer: Writer) -> None:
        """Write the end of a worker that ended without a word."""
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if run.state == "stopping":
            writer.end(run, "stopped", f"stopped, with {how}", exit_code=EXIT_INTERRUPTED)
            return
        if code == EXIT_UNWRITTEN:
            reason = "the database could not be written any more (is the disk full?)"
            writer.end(run, "failed", reason, failure="storage", exit_code=EXIT_FAILED)
            return
        reason = f"the worker ended with {how} and without a word"
        failure: Failure = "signal" if code < 0 else "defect"
        if code == -signal.SIGKILL and _kills_by_kernel() > self._kills_by_kernel:
            reason += "; the kernel has just killed a process for want of memory"
            failure = "out-of-memory"
        if failure == "defect" or not self._resume(run, reason, writer):
            reason += f"; its log: {worker_log(self.database, run.id)}"
            writer.end(run, "failed", reason, failure=failure, exit_code=EXIT_FAILED)

    def _look_at(self, run: Run, writer: Writer) -> None:
        """See to a worker that says nothing, or that is of a runner before this one, or of another host."""
        quiet_s, shown, child = self._quiet_s(run), state_shown(run), self.children.get(run.id)
        if shown == "stalled" and run.state == "running" and quiet_s >= SILENT_S:
            writer.stall(run.id, f"its worker lives and has said nothing for {SILENT_S:.0f} s")
        if shown != "lost":
            return
        is_dead = run.worker is not None and liveness(run.worker) == "dead"
        if not is_dead and quiet_s < (STARTING_GRACE_S if run.worker is None else GONE_S):
            return
        if child is not None:  # it never claimed its run, or ends at this moment
            child.kill()
            return
        if run.state == "stopping":
            writer.end(run, "stopped", "stopped, without a word of its worker", exit_code=EXIT_INTERRUPTED)
            return
        here = run.worker is None or run.worker.host == self.host
        reason = "its worker is gone without a word" if here else f"no word of its worker for {GONE_S / 60:.0f} minutes"
        failure: Failure = "signal" if here else "lost-host"
        if not (here and self._resume(run, reason, writer)):
            writer.end(run, "lost", reason, failure=failure, exit_code=EXIT_FAILED)

    def _quiet_s(self, run: Run) -> float:
        """Return how long nothing of a run has changed, on a clock that does not jump."""
        seen, moment = (run.state_at, run.heartbeat_at), time.monotonic()
        if self._heard.get(run.id, (None, 0.0))[0] != seen:
            self._heard[run.id] = seen, moment
        return moment - self._heard[run.id][1]

    def _resume(self, run: Run, reason: str, writer: Writer) -> bool:
        """Queue a run again whose worker was killed, unless that was done too often."""
        if run.resumed >= run.settings.resumes:
            return False
        said = f"{reason}; resumed by itself ({run.resumed + 1} of {run.settings.resumes})"
        return writer.back_to_queue(run, said, first=True, by_itself=True)

    def _press_stop(self, run: Run, writer: Writer) -> None:
        """Take the next step of a stop: after the flag in the store, SIGTERM, then SIGKILL."""
        child, moment = self.children.get(run.id), time.monotonic()
        waited_s = moment - self._stopping_since.setdefault((run.id, run.session), moment)
        if run.worker is None:
            if child is None:
                writer.end(run, "stopped", "stopped before it began", exit_code=EXIT_INTERRUPTED)
            elif waited_s > STOP_HEARD_S:  # its claim would be refused
                child.kill()
        elif liveness(run.worker) == "alive":
            if waited_s > STOP_GRACE_S:
                _signal(run.worker.pid, signal.SIGKILL)
            elif waited_s > STOP_HEARD_S and (run.id, run.session) not in self._terminated:
                self._terminated.add((run.id, run.session))
                _signal(run.worker.pid, signal.SIGTERM)


def start_worker(
    database: Path, run_id: str, surroundings: Surroundings, device: Device, slots: int
) -> subprocess.Popen[bytes]:
    """Start the worker of a run, in a session of its own, with its output in the run's log.

    Raises:
        OSError: it cannot be started.
    """
    environment = surroundings.environment(os.environ)
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    elif slots > 1:
        environment.setdefault("OMP_NUM_THREADS", str(threads_each(os.cpu_count() or 1, slots)))
    with worker_log(database, run_id).open("ab") as output:
        return subprocess.Popen(
            [surroundings.python, "-P", "-m", "peftbench.jobs.worker", run_id, "--db", str(database.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
            cwd=surroundings.folder if Path(surroundings.folder).is_dir() else None,
        )


def drain(database: Path) -> None:
    """Drain the queue until there is nothing to do. Returns at once where another runner does it."""
    with RunnerLock(database) as lock:
        if not lock.take():
            return
        runner, troubles = Runner(database, cards_here()), 0
        while True:
            try:
                _drain_while_busy(runner)
                # Whoever queued a run before this moment saw the lock held, and counts on this look at the queue.
                lock.release()
                if not _waits(database) or not lock.take():
                    return
                troubles = 0
            except PeftbenchError as error:
                troubles += 1
                print(f"{error.message}; tried again in {TROUBLE_S:.0f} s", file=sys.stderr, flush=True)
                if troubles > TROUBLES or not (lock.held or lock.take()):
                    raise
                time.sleep(TROUBLE_S)


def _drain_while_busy(runner: Runner) -> None:
    """Tick until there was nothing to do for a while, or the database is gone."""
    if not runner.database.exists():
        return
    file, idle_since = runner.database.stat().st_ino, time.monotonic()
    with Reader(runner.database) as reader, Writer(runner.database) as writer:
        while runner.database.exists() and runner.database.stat().st_ino == file:
            if runner.tick(reader, writer):
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > IDLE_S:
                return
            time.sleep(POLL_S)


def _waits(database: Path) -> bool:
    with Reader(database) as reader:
        return reader.first_queued() is not None or bool(reader.working())


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _kills_by_kernel() -> int:
    """Return how many processes the kernel has killed for want of memory; 0 where it does not say."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def main() -> int:
    """Read the command line and drain."""
    parser = argparse.ArgumentParser(prog="python -m peftbench.jobs.runner", description=__doc__)
    parser.add_argument("--db", type=Path, required=True, help="the database")
    print_if_possible()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        drain(parser.parse_args().db)
    except PeftbenchError as error:
        print(error.message, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
