"""The runner's lock: one holder, known by its number, gone with its holder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from peftbench.jobs.lock import RunnerLock

HOLD = """
import sys
from pathlib import Path
from peftbench.jobs.lock import RunnerLock
lock = RunnerLock(Path(sys.argv[1]))
print(lock.take(), flush=True)
sys.stdin.read()
"""


def test_one_holds_it_and_others_see_who(tmp_path: Path) -> None:
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


def test_it_dies_with_its_holder_and_not_with_the_holders_children(tmp_path: Path) -> None:
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
