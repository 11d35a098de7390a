"""The runner's lock: one holder, identified by its PID, released when it dies."""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from peftbench.jobs.lock import RunnerLock

HOLD = """
import sys
from pathlib import Path
from peftbench.jobs.lock import RunnerLock
lock = RunnerLock(Path(sys.argv[1]))
print(lock.take(), flush=True)
sys.stdin.read()
"""


def test_one_process_holds_the_lock_and_others_see_its_pid(tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    assert RunnerLock(database).holder() is None
    with RunnerLock(database) as lock:
        assert lock.take()
        assert RunnerLock(database).holder() == os.getpid()
        assert not RunnerLock(database).take()
        assert RunnerLock(tmp_path / "b.db").holder() is None
        assert RunnerLock(tmp_path / "a.sqlite").holder() is None
    assert RunnerLock(database).holder() is None
    assert RunnerLock(database).take()


def test_looking_up_the_holder_does_not_block_taking_the_lock(tmp_path: Path) -> None:
    """Looking up the holder takes the lock for a moment, longer on a busy machine."""
    database = tmp_path / "a.db"
    with RunnerLock(database) as lock:
        assert lock.take()
    asking = os.open(RunnerLock(database).path, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    threading.Timer(0.15, os.close, [asking]).start()
    with RunnerLock(database) as lock:
        assert lock.take()


def test_the_lock_is_released_when_its_holder_dies_despite_children(tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "True\n"
    assert RunnerLock(database).holder() == holder.pid
    holder.kill()
    holder.wait()
    assert RunnerLock(database).holder() is None
    with RunnerLock(database) as lock:
        assert lock.take()
        child = subprocess.Popen(["sleep", "60"])
        lock.release()
        assert RunnerLock(database).holder() is None
        child.kill()
        child.wait()


def test_a_machine_that_is_renamed_has_one_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "a.db"
    with RunnerLock(database) as lock:
        assert lock.take()
        monkeypatch.setattr(platform, "node", lambda: "renamed")
        assert RunnerLock(database).holder() == os.getpid()
        assert not RunnerLock(database).take()


def test_a_runner_of_an_earlier_version_is_respected(tmp_path: Path) -> None:
    """Its lock file was named after the machine."""
    database = tmp_path / "a.db"
    path = RunnerLock(database).earlier
    path.parent.mkdir()
    with path.open("w") as file:
        file.write("4711\n")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        assert RunnerLock(database).holder() == 4711
        assert not RunnerLock(database).take()
    assert RunnerLock(database).holder() is None
    with RunnerLock(database) as lock:
        assert lock.take()
