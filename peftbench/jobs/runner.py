"""The runner that drains the queue: `python -m peftbench.jobs.runner --db FILE`, one per database and host.

It starts a worker for each run in turn, reaps it, records the end of runs whose workers could not, resumes those that
were killed, and enforces stop requests. Any process that needs it starts it, and it exits when nothing is left to do.
If it is killed, its workers continue, and the next process that checks the queue starts another.
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
from peftbench.jobs.devices import Device, allowed_devices, cards_here, free_slot, threads_each
from peftbench.jobs.environment import WorkerEnvironment, kept
from peftbench.jobs.liveness import GONE_S, SILENT_S, STARTING_GRACE_S, liveness, of_this_machine, state_shown
from peftbench.jobs.lock import RunnerLock
from peftbench.jobs.logs import print_if_possible
from peftbench.jobs.oom_kills import OomKills, counter_of
from peftbench.jobs.worker import EXIT_UNWRITTEN
from peftbench.paths import run_folder, worker_log
from peftbench.store.reader import Reader
from peftbench.store.rows import ACTIVE_STATES, Failure, Run
from peftbench.store.writer import Writer
from peftbench.training.files import remove_checkpoints

POLL_S = 0.25
LOOK_AROUND_S = 2.0  # between two checks of workers that are not its children
IDLE_S = 2.0  # without work, until it exits
TROUBLE_S = 5.0  # until the next try where the database cannot be read or written
TROUBLES = 120
COOLDOWN_GPU_S = 10.0
STOP_HEARD_S = 1.5  # from a stop request to SIGTERM
STOP_GRACE_S = 60.0  # from a stop request to SIGKILL: a large model's checkpoint takes a while on a slow disk


class Runner:
    """Drains the queue of one database on this host.

    Args:
        database: path of the database.
        cards: UUIDs of this machine's GPUs.
    """

    def __init__(self, database: Path, cards: Sequence[str]) -> None:
        self.database, self.cards, self.host = database, tuple(cards), platform.node()
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping_since: dict[tuple[str, int], float] = {}  # by run and attempt, on a monotonic clock
        self._terminated: set[tuple[str, int]] = set()
        self._heard: dict[str, tuple[tuple[str | None, str | None], float]] = {}
        self._cool_at: dict[Device, float] = {}
        self._looked_at = -LOOK_AROUND_S
        self._kills: dict[str, OomKills] = {}  # by run, for workers on this host

    def tick(self, reader: Reader, writer: Writer) -> bool:
        """Do all pending work; False where nothing is queued and no worker of this host is left."""
        self._reap(reader, writer)
        working = reader.working()
        if time.monotonic() - self._looked_at >= LOOK_AROUND_S:
            self._looked_at = time.monotonic()
            for run in working:
                self._look_at(run, reader, writer)
            self._kills = {run_id: kills for run_id, kills in self._kills.items() if run_id in self._known(working)}
        here = [run for run in working if run.worker is None or of_this_machine(run.worker)]
        for run in here:
            if run.state == "stopping":
                self._escalate_stop(run, writer)
        known = {run.id for run in here}
        # a run may have ended while its process still exits: until then its device is not free
        here += [gone for run_id in self.children if run_id not in known and (gone := reader.get(run_id)) is not None]
        first = reader.first_queued()
        if first is not None and first.id not in self.children:
            self._start(first, here, reader, writer)
        return bool(first or here or self.children)

    def _start(self, run: Run, working: Sequence[Run], reader: Reader, writer: Writer) -> None:
        """Start the first run of the queue, if there is a slot for it."""
        settings = reader.queue_settings(self.host)
        slots = settings.slots if settings.slots is not None else max(1, len(self.cards))
        resting_s = settings.cooldown_s if settings.cooldown_s is not None else COOLDOWN_GPU_S if self.cards else 0.0
        moment = time.monotonic()
        cooling = {device for device, ended_at in self._cool_at.items() if moment - ended_at < resting_s}
        try:
            surroundings = kept(run_folder(self.database, run.id))
            slot = free_slot(run, working, allowed_devices(self.cards, surroundings.variables), slots, cooling)
        except MissingError as error:
            writer.end(run, "failed", f"it cannot be started: {error}", failure="defect", exit_code=EXIT_FAILED)
            return
        if slot is None or not writer.start(run.id, slot.device):
            return
        started = reader.run(run.id)
        try:
            child = start_worker(self.database, run.id, surroundings, slot.device, slots)
            self.children[run.id], self._kills[run.id] = child, OomKills(counter_of(child.pid))
        except (FileNotFoundError, PermissionError) as error:
            reason = f"its worker cannot be started: {error}"
            writer.end(started, "failed", reason, failure="defect", exit_code=EXIT_FAILED)
        except OSError as error:  # no memory or disk space: may be temporary
            reason = f"its worker could not be started yet: {error}"
            writer.back_to_queue(started, reason, first=True, by_itself=False)
            raise StorageError(f"run {run.name} ({run.id}): {reason}") from error

    def _reap(self, reader: Reader, writer: Writer) -> None:
        """Handle child processes that have ended."""
        for kills in self._kills.values():
            kills.look()
        for run_id, process in list(self.children.items()):
            code = process.poll()
            if code is None:
                continue
            run = reader.get(run_id)
            if run is not None:
                self._cool_at[run.device] = time.monotonic()
                its_own = run.worker is None or run.worker.pid == process.pid
                if its_own and run.state in ACTIVE_STATES and run.state != "queued":
                    self._ended(run, code, reader, writer)
                elif run.state == "finished":  # its worker may have been killed before it cleaned up
                    remove_checkpoints(run_folder(self.database, run_id))
            del self.children[run_id]
            self._kills.pop(run_id, None)

    def _ended(self, run: Run, code: int, reader: Reader, writer: Writer) -> None:
        """Record the end of a run whose worker ended without recording it."""
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if run.state == "stopping":
            writer.end(run, "stopped", f"stopped, with {how}", exit_code=EXIT_INTERRUPTED)
            return
        if code == EXIT_UNWRITTEN:
            reason = "the database could not be written any more (is the disk full?)"
            writer.end(run, "failed", reason, failure="storage", exit_code=EXIT_FAILED)
            return
        reason = f"the worker ended with {how}, without recording an end"
        if code == -signal.SIGKILL and self._killed_by_kernel(run):
            self._out_of_memory(run, reader, writer)
        elif code >= 0 or not self._resume(run, reason, writer):
            reason += f"; its log: {worker_log(self.database, run.id)}"
            failure: Failure = "signal" if code < 0 else "defect"
            writer.end(run, "failed", reason, failure=failure, exit_code=EXIT_FAILED)

    def _killed_by_kernel(self, run: Run) -> bool:
        """Tell whether a worker that is gone was killed for lack of memory; each kill is attributed to one worker."""
        kills = self._kills.get(run.id)
        if kills is None or not kills.recent():
            return False
        for other in self._kills.values():
            if other is not kills and other.counter == kills.counter:
                other.of_another()
        return True

    def _out_of_memory(self, run: Run, reader: Reader, writer: Writer) -> None:
        """End a run whose worker was killed for lack of memory: resumed, it would fail again."""
        from peftbench.jobs.failures import out_of_memory
        from peftbench.spec.model import RunSpec

        cause = "the kernel killed its worker for lack of memory"
        spec = RunSpec.model_validate_json(run.spec_json)
        reason = out_of_memory(cause, spec, reader.progress(run.id), run.memory_predicted)
        writer.end(run, "failed", reason, failure="out-of-memory", exit_code=EXIT_FAILED)

    def _look_at(self, run: Run, reader: Reader, writer: Writer) -> None:
        """Check a worker without heartbeat, or one started by an earlier runner or on another host."""
        quiet_s, shown, child = self._quiet_s(run), state_shown(run), self.children.get(run.id)
        if shown == "stalled" and run.state == "running" and quiet_s >= SILENT_S:
            writer.stall(run.id, f"its worker is alive but has sent no heartbeat for {SILENT_S:.0f} s")
        if shown != "lost":
            if run.worker is not None and run.id not in self._kills and liveness(run.worker) == "alive":
                self._kills[run.id] = OomKills(counter_of(run.worker.pid))
            return
        is_dead = run.worker is not None and liveness(run.worker) == "dead"
        if not is_dead and quiet_s < (STARTING_GRACE_S if run.worker is None else GONE_S):
            return
        if child is not None:  # it never claimed its run, or is just ending
            child.kill()
            return
        if run.state == "stopping":
            writer.end(run, "stopped", "stopped; its worker recorded no end", exit_code=EXIT_INTERRUPTED)
            return
        here = run.worker is None or liveness(run.worker) != "elsewhere"
        if is_dead and self._killed_by_kernel(run):
            self._out_of_memory(run, reader, writer)
            return
        reason = (
            "its worker died without recording an end"
            if here
            else f"no heartbeat of its worker for {GONE_S / 60:.0f} minutes"
        )
        failure: Failure = "signal" if here else "lost-host"
        if not (here and self._resume(run, reason, writer)):
            writer.end(run, "lost", reason, failure=failure, exit_code=EXIT_FAILED)

    def _known(self, working: Sequence[Run]) -> set[str]:
        return {*self.children, *(run.id for run in working)}

    def _quiet_s(self, run: Run) -> float:
        """Return how long nothing of a run has changed, on a monotonic clock."""
        seen, moment = (run.state_at, run.heartbeat_at), time.monotonic()
        if self._heard.get(run.id, (None, 0.0))[0] != seen:
            self._heard[run.id] = seen, moment
        return moment - self._heard[run.id][1]

    def _resume(self, run: Run, reason: str, writer: Writer) -> bool:
        """Requeue a run whose worker was killed, unless it was resumed too often."""
        if run.resumed >= run.settings.resumes:
            return False
        message = f"{reason}; resumed automatically ({run.resumed + 1} of {run.settings.resumes})"
        return writer.back_to_queue(run, message, first=True, by_itself=True)

    def _escalate_stop(self, run: Run, writer: Writer) -> None:
        """Escalate a stop request: after the flag in the store, SIGTERM, then SIGKILL."""
        child, moment = self.children.get(run.id), time.monotonic()
        waited_s = moment - self._stopping_since.setdefault((run.id, run.attempt), moment)
        if run.worker is None:
            if child is None:
                writer.end(run, "stopped", "stopped before it began", exit_code=EXIT_INTERRUPTED)
            elif waited_s > STOP_HEARD_S:  # its claim would be refused anyway
                child.kill()
        elif liveness(run.worker) == "alive":
            if waited_s > STOP_GRACE_S:
                _signal(run.worker.pid, signal.SIGKILL)
            elif waited_s > STOP_HEARD_S and (run.id, run.attempt) not in self._terminated:
                self._terminated.add((run.id, run.attempt))
                _signal(run.worker.pid, signal.SIGTERM)


def start_worker(
    database: Path, run_id: str, surroundings: WorkerEnvironment, device: Device, slots: int
) -> subprocess.Popen[bytes]:
    """Start the worker of a run in a session of its own, with its output in the run's log.

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
    """Drain the queue until nothing is left to do. Returns at once where another runner holds the lock."""
    with RunnerLock(database) as lock:
        if not lock.take():
            return
        runner, troubles = Runner(database, cards_here()), 0
        while True:
            try:
                _drain_while_busy(runner)
                # A process that queued a run before the release saw the lock held, and relies on this check.
                lock.release()
                if not _has_work(database) or not lock.take():
                    return
                troubles = 0
            except PeftbenchError as error:
                troubles += 1
                print(f"{error.message}; retrying in {TROUBLE_S:.0f} s", file=sys.stderr, flush=True)
                if troubles > TROUBLES or not (lock.held or lock.take()):
                    raise
                time.sleep(TROUBLE_S)


def _drain_while_busy(runner: Runner) -> None:
    """Tick until there has been no work for `IDLE_S`, or the database is gone."""
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


def _has_work(database: Path) -> bool:
    with Reader(database) as reader:
        return reader.first_queued() is not None or bool(reader.working())


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def main() -> int:
    """Parse the command line and drain the queue."""
    parser = argparse.ArgumentParser(prog="python -m peftbench.jobs.runner", description=__doc__)
    parser.add_argument("--db", type=Path, required=True, help="path of the database")
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
