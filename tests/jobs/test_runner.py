"""What the runner makes of workers that end, hang, or are not its own: ticked by hand, `sleep` for a worker."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from peftbench.jobs import control
from peftbench.jobs import runner as module
from peftbench.jobs.liveness import identity, this_process
from peftbench.jobs.runner import Runner
from peftbench.jobs.surroundings import keep
from peftbench.paths import run_folder
from peftbench.spec import Resolved
from peftbench.store.reader import Reader
from peftbench.store.rows import Run, RunSettings
from tests.store.life import Life


class Machine:
    """A runner whose workers are `sleep`."""

    def __init__(self, path: Path, spec: Resolved, cards: tuple[str, ...] = ()) -> None:
        self.path, self.spec = path, spec
        self.life, self.reader = Life(path), Reader(path)
        self.runner = Runner(path, cards)
        self.workers: list[subprocess.Popen[bytes]] = []

    def queue(self, **changed: object) -> str:
        run_id = self.life.create_run(
            spec_json=self.spec.spec.canonical_json(), spec_hash="s", group_hash="g", origins={}, **changed
        )
        keep(run_folder(self.path, run_id))
        return run_id

    def tick(self) -> bool:
        self.runner._looked_at = -module.LOOK_AROUND_S
        return self.runner.tick(self.reader, self.life.writer)

    def run(self, run_id: str) -> Run:
        return self.reader.run(run_id)

    def claim(self, run_id: str) -> None:
        """Let the run's process claim it, as a worker does."""
        assert self.life.claim(run_id, identity(self.runner.children[run_id].pid))

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        self.workers.append(subprocess.Popen(["sleep", "600"]))
        return self.workers[-1]

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.life.close()
        self.reader.__exit__(None, None, None)


@pytest.fixture
def machine(tmp_path: Path, tiny: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with closing(Machine(tmp_path / "runs.db", tiny("lora-r12"))) as machine:
        monkeypatch.setattr(module, "start_worker", machine.start)
        yield machine


def test_a_device_is_free_when_its_process_is_gone_and_has_rested(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.runner.cards = ("GPU-aaaa",)
    first, second = machine.queue(), machine.queue()
    assert machine.tick()
    machine.claim(first)
    machine.life.log(first).finish("finished")
    machine.tick()
    assert machine.run(second).state == "queued", "the first one's process still holds the card"
    machine.workers[0].kill()
    machine.workers[0].wait()
    machine.tick()
    assert machine.run(second).state == "queued", "and then the card rests"
    monkeypatch.setattr(module, "COOLDOWN_GPU_S", 0.0)
    machine.tick()
    assert (machine.run(second).state, machine.run(second).device) == ("starting", "GPU-aaaa")


def test_a_worker_that_hangs_before_its_first_word_can_be_stopped(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_HEARD_S", 0.0)
    run_id = machine.queue()
    machine.tick()
    assert machine.life.request_stop(run_id) == "stopping"
    machine.tick()
    machine.tick()
    machine.workers[0].wait(10)
    machine.tick()
    assert (machine.run(run_id).state, machine.run(run_id).reason) == ("stopped", "stopped, with signal 9")


def test_a_second_stop_does_not_put_off_the_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = machine.queue()
    machine.tick()
    machine.claim(run_id)
    machine.life.request_stop(run_id)
    first = machine.run(run_id)
    time.sleep(0.01)
    assert machine.life.request_stop(run_id) == "stopping"
    assert machine.run(run_id) == first
    machine.tick()
    monkeypatch.setattr(module, "STOP_GRACE_S", 0.0)
    machine.tick()
    assert machine.workers[0].wait(10) == -9


def test_a_worker_is_killed_by_its_identity(machine: Machine) -> None:
    run_id = machine.queue()
    machine.tick()
    machine.claim(run_id)
    run = machine.run(run_id)
    assert run.worker is not None
    control.kill(replace(run, worker=replace(run.worker, started_at=0.0)))
    assert machine.workers[0].poll() is None, "another process has that number now"
    control.kill(run)
    assert machine.workers[0].wait(10) == -9


def test_a_worker_of_its_own_that_says_nothing_is_stalled(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peftbench.jobs.liveness.SILENT_S", 0.0)
    monkeypatch.setattr(module, "SILENT_S", 0.3)
    run_id = machine.queue()
    machine.tick()
    machine.claim(run_id)
    machine.tick()
    assert machine.run(run_id).state == "running", "the wall clock alone says nothing"
    time.sleep(0.4)
    machine.tick()
    assert machine.run(run_id).state == "stalled"


def test_a_run_that_somebody_has_just_resumed_is_not_ended(machine: Machine) -> None:
    run_id = machine.queue(settings=RunSettings(resumes=0))
    dead = replace(this_process(), started_at=0.0)
    assert machine.life.claim(run_id, dead)
    seen = machine.run(run_id)
    assert machine.life.writer.back_to_queue(seen, "resumed", first=False, by_itself=False)
    machine.runner._look_at(seen, machine.life.writer)
    assert machine.run(run_id).state == "queued"


def test_a_process_that_was_refused_does_not_end_the_run_of_another(machine: Machine) -> None:
    run_id = machine.queue()
    machine.tick()
    assert machine.life.claim(run_id, this_process())  # another worker was quicker
    machine.workers[0].kill()
    machine.workers[0].wait()
    machine.tick()
    assert machine.run(run_id).state == "running"


def test_a_killed_worker_is_resumed_so_often_and_then_failed(machine: Machine) -> None:
    run_id = machine.queue(settings=RunSettings(resumes=1))
    for _ in range(2):
        machine.tick()
        machine.claim(run_id)
        machine.workers[-1].kill()
        machine.workers[-1].wait()
    machine.tick()
    run = machine.run(run_id)
    assert (run.state, run.failure, run.resumed, run.session) == ("failed", "signal", 1, 2)
    assert "signal 9" in run.reason


def test_no_memory_to_start_a_worker_is_no_failure_of_the_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*arguments: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    run_id = machine.queue()
    monkeypatch.setattr(module, "start_worker", cannot)
    with pytest.raises(module.StorageError, match="could not be started yet"):
        machine.tick()
    assert machine.run(run_id).state == "queued"
    monkeypatch.setattr(module, "start_worker", machine.start)
    machine.tick()
    assert machine.run(run_id).state == "starting"


def test_a_kill_of_yesterday_is_no_reason_today(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    kills = iter([7, 7, 7, 7, 8, 8, 8, 8, 8])
    monkeypatch.setattr(module, "_kills_by_kernel", lambda: next(kills))
    machine.runner._kills_by_kernel = 1
    run_id = machine.queue(settings=RunSettings(resumes=0))
    machine.tick()
    machine.claim(run_id)
    machine.workers[0].kill()
    machine.workers[0].wait()
    machine.tick()
    assert machine.run(run_id).failure == "signal"
