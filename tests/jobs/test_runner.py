"""The runner with workers that end, hang, or are not its children: ticked manually, with `sleep` as the worker."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from peftbench.jobs import control, runner
from peftbench.jobs.environment import keep
from peftbench.jobs.liveness import identity, this_process
from peftbench.jobs.oom_kills import KillCounter, OomKills, counter_of
from peftbench.jobs.runner import Runner
from peftbench.paths import run_folder
from peftbench.spec import Resolved
from peftbench.store.reader import Reader
from peftbench.store.rows import Progress, QueueSettings, Run, RunSettings, now
from tests.patience import PATIENCE_S, moment_after
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
        self.runner._looked_at = -runner.LOOK_AROUND_S
        return self.runner.tick(self.reader, self.life.writer)

    def run(self, run_id: str) -> Run:
        return self.reader.run(run_id)

    def claim(self, run_id: str) -> None:
        """Claim the run for its process, as a worker does."""
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
        monkeypatch.setattr(runner, "start_worker", machine.start)
        yield machine


def test_a_device_is_free_after_its_process_is_gone_and_a_cooldown(
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
    monkeypatch.setattr(runner, "COOLDOWN_GPU_S", 0.0)
    machine.tick()
    assert (machine.run(second).state, machine.run(second).device) == ("starting", "GPU-aaaa")


def test_a_worker_that_hangs_before_its_claim_can_be_stopped(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "STOP_HEARD_S", 0.0)
    run_id = machine.queue()
    machine.tick()
    assert machine.life.request_stop(run_id) == "stopping"
    machine.tick()
    machine.tick()
    machine.workers[0].wait(PATIENCE_S)
    machine.tick()
    assert (machine.run(run_id).state, machine.run(run_id).reason) == ("stopped", "stopped, with signal 9")


def test_a_second_stop_request_does_not_delay_the_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = machine.queue()
    machine.tick()
    machine.claim(run_id)
    machine.life.request_stop(run_id)
    first = machine.run(run_id)
    moment_after(first.stop_requested_at)
    assert machine.life.request_stop(run_id) == "stopping"
    assert machine.run(run_id) == first
    machine.tick()
    monkeypatch.setattr(runner, "STOP_GRACE_S", 0.0)
    machine.tick()
    assert machine.workers[0].wait(PATIENCE_S) == -9


def test_a_worker_is_killed_by_its_identity(machine: Machine) -> None:
    run_id = machine.queue()
    machine.tick()
    machine.claim(run_id)
    run = machine.run(run_id)
    assert run.worker is not None
    control.kill(replace(run, worker=replace(run.worker, started_at=0.0)))
    assert machine.workers[0].poll() is None, "another process has that number now"
    control.kill(run)
    assert machine.workers[0].wait(PATIENCE_S) == -9


def test_a_child_without_heartbeat_is_stalled(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peftbench.jobs.liveness.SILENT_S", 0.0)
    clock = [time.monotonic()]
    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    run_id = machine.queue()
    machine.tick()
    machine.claim(run_id)
    machine.tick()
    assert machine.run(run_id).state == "running", "the wall clock alone says nothing"
    clock[0] += runner.SILENT_S + 1
    machine.tick()
    assert machine.run(run_id).state == "stalled"


def test_a_run_resumed_meanwhile_is_not_ended(machine: Machine) -> None:
    run_id = machine.queue(settings=RunSettings(resumes=0))
    dead = replace(this_process(), started_at=0.0)
    assert machine.life.claim(run_id, dead)
    seen = machine.run(run_id)
    assert machine.life.writer.back_to_queue(seen, "resumed", first=False, by_itself=False)
    machine.runner._look_at(seen, machine.reader, machine.life.writer)
    assert machine.run(run_id).state == "queued"


def test_a_process_that_was_refused_does_not_end_the_run_of_another(machine: Machine) -> None:
    run_id = machine.queue()
    machine.tick()
    assert machine.life.claim(run_id, this_process())  # another worker claimed it first
    machine.workers[0].kill()
    machine.workers[0].wait()
    machine.tick()
    assert machine.run(run_id).state == "running"


def test_a_killed_worker_is_resumed_up_to_the_limit_and_then_fails(machine: Machine) -> None:
    run_id = machine.queue(settings=RunSettings(resumes=1))
    for _ in range(2):
        machine.tick()
        machine.claim(run_id)
        machine.workers[-1].kill()
        machine.workers[-1].wait()
    machine.tick()
    run = machine.run(run_id)
    assert (run.state, run.failure, run.resumed, run.attempt) == ("failed", "signal", 1, 2)
    assert "signal 9" in run.reason


def test_no_memory_to_start_a_worker_is_no_failure_of_the_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*arguments: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    run_id = machine.queue()
    monkeypatch.setattr(runner, "start_worker", cannot)
    with pytest.raises(runner.StorageError, match="could not be started yet"):
        machine.tick()
    assert machine.run(run_id).state == "queued"
    monkeypatch.setattr(runner, "start_worker", machine.start)
    machine.tick()
    assert machine.run(run_id).state == "starting"


class Kernel:
    """A simulated kernel that counts kills in a file, with a clock."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.moment = folder / "memory.events", 0.0
        self.count(7)
        monkeypatch.setattr(runner, "counter_of", lambda pid: KillCounter(self.path))
        monkeypatch.setattr(runner, "OomKills", lambda counter: OomKills(counter, lambda: self.moment))

    def count(self, kills: int) -> None:
        self.path.write_text(f"low 0\nmax 12\noom 1\noom_kill {kills}\noom_group_kill 0\n")


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path, monkeypatch)


def killed(machine: Machine, place: int) -> None:
    machine.workers[place].kill()
    machine.workers[place].wait()


def test_a_worker_killed_for_memory_is_not_resumed_and_gets_advice(machine: Machine, kernel: Kernel) -> None:
    run_id = machine.queue(settings=RunSettings(resumes=2))
    machine.tick()
    machine.claim(run_id)
    machine.life.put_progress(run_id, Progress(2, "train", "sst", 12, 40, 90, 400, 1.0, now()))
    kernel.count(8)
    killed(machine, 0)
    machine.tick()
    run = machine.run(run_id)
    assert (run.state, run.failure, run.resumed) == ("failed", "out-of-memory", 0)
    assert run.reason is not None
    assert "at epoch 2, train of sst, step 12: the kernel killed its worker for lack of memory" in run.reason
    assert "--set train.batch_size=" in run.reason


@pytest.mark.parametrize("looks", [1, 5])
def test_a_process_that_dies_slowly_is_still_attributed_to_the_kill(
    machine: Machine, kernel: Kernel, looks: int
) -> None:
    """The kernel counts the kill at once; the process is gone only after its memory was released."""
    run_id = machine.queue()
    machine.tick()
    machine.claim(run_id)
    kernel.count(8)
    for _ in range(looks):
        machine.tick()
        kernel.moment += 5.0
    killed(machine, 0)
    machine.tick()
    assert machine.run(run_id).failure == "out-of-memory"


@pytest.mark.parametrize("when", ["before it started", "long before it died"])
def test_an_old_kill_is_ignored(machine: Machine, kernel: Kernel, when: str) -> None:
    if when == "before it started":
        kernel.count(8)
    run_id = machine.queue(settings=RunSettings(resumes=0))
    machine.tick()
    machine.claim(run_id)
    if when != "before it started":
        kernel.count(8)
        machine.tick()
        kernel.moment += 3600.0
    killed(machine, 0)
    machine.tick()
    assert machine.run(run_id).failure == "signal"


def test_each_kill_is_attributed_to_one_worker(machine: Machine, kernel: Kernel) -> None:
    machine.life.writer.set_queue(machine.runner.host, QueueSettings(slots=3))
    ids = [machine.queue(settings=RunSettings(resumes=0)) for _ in range(3)]
    for run_id in ids:
        machine.tick()
        machine.claim(run_id)
    kernel.count(9)
    for place in range(3):
        killed(machine, place)
        machine.tick()
    assert [machine.run(run_id).failure for run_id in ids] == ["out-of-memory", "out-of-memory", "signal"]


def test_a_worker_of_a_runner_before_this_one_was_killed_too(machine: Machine, kernel: Kernel) -> None:
    run_id = machine.queue()
    machine.start()
    assert machine.life.claim(run_id, identity(machine.workers[0].pid))
    machine.tick()
    kernel.count(8)
    killed(machine, 0)
    machine.tick()
    run = machine.run(run_id)
    assert (run.state, run.failure, run.resumed) == ("failed", "out-of-memory", 0)


def test_another_signal_is_not_out_of_memory(machine: Machine, kernel: Kernel) -> None:
    run_id = machine.queue(settings=RunSettings(resumes=0))
    machine.tick()
    machine.claim(run_id)
    kernel.count(8)
    machine.workers[0].terminate()
    machine.workers[0].wait()
    machine.tick()
    assert machine.run(run_id).failure == "signal"


def a_process(tmp_path: Path, cgroup: str) -> Path:
    (tmp_path / "proc" / "42").mkdir(parents=True)
    (tmp_path / "proc" / "42" / "cgroup").write_text(cgroup)
    (tmp_path / "vmstat").write_text("pgfault 3\noom_kill 5\n")
    return tmp_path


@pytest.mark.parametrize(
    ("cgroup", "file", "content"),
    [
        ("0::/user.slice/a\n", "groups/user.slice/a/memory.events", "oom 1\noom_kill 3\n"),
        ("0::/docker/abc\n", "groups/memory.events", "oom 1\noom_kill 3\n"),  # only its own subtree is mounted
        ("4:memory:/a/b\n1:name=systemd:/\n0::/\n", "groups/memory/a/b/memory.oom_control", "oom_kill 3\n"),
        ("9:cpu,memory:/a\n", "groups/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
        ("4:memory:/\n0::/s\n", "groups/unified/s/memory.events", "oom_kill 3\n"),
    ],
)
def test_the_control_groups_own_counter_is_read(tmp_path: Path, cgroup: str, file: str, content: str) -> None:
    where = a_process(tmp_path, cgroup)
    (where / file).parent.mkdir(parents=True)
    (where / file).write_text(content)
    found = counter_of(42, where / "proc", where / "groups", where / "vmstat")
    assert (found.path, found.read()) == (where / file, 3)


@pytest.mark.parametrize("cgroup", ["", "0::/a\n", "4:memory:/a\n"])
def test_without_a_cgroup_counter_the_machines_is_used(tmp_path: Path, cgroup: str) -> None:
    where = a_process(tmp_path, cgroup)
    assert counter_of(42, where / "proc", where / "groups", where / "vmstat").read() == 5
    assert counter_of(43, where / "proc", where / "groups", where / "vmstat").read() == 5, "it is gone already"
    assert counter_of(42, where / "proc", where / "groups", where / "none").read() is None
