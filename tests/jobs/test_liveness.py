"""What state a run is in although nobody has written it yet."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from peftbench.jobs import liveness as module
from peftbench.jobs.liveness import identity, liveness, seconds_since, state_shown, this_process
from tests.jobs.rows import run


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def test_a_worker_that_has_long_said_nothing_is_stalled_while_it_lives() -> None:
    me = this_process()
    assert state_shown(run("a", state="running", worker=me, heartbeat_at=ago(1))) == "running"
    assert state_shown(run("a", state="running", worker=me, heartbeat_at=ago(module.SILENT_S + 1))) == "stalled"
    assert state_shown(run("a", state="stopping", worker=me, heartbeat_at=ago(module.SILENT_S + 1))) == "stopping"


def test_a_worker_on_another_host_is_lost_after_a_long_silence_only() -> None:
    away = replace(this_process(), host="another host")
    assert state_shown(run("a", state="running", worker=away, heartbeat_at=ago(1))) == "running"
    assert state_shown(run("a", state="running", worker=away, heartbeat_at=ago(module.SILENT_S + 1))) == "stalled"
    assert state_shown(run("a", state="running", worker=away, heartbeat_at=ago(module.GONE_S + 1))) == "lost"


@pytest.mark.parametrize("state", ["running", "stalled", "stopping"])
def test_a_dead_worker_is_lost_in_every_state_that_needs_one(state: str) -> None:
    dead = replace(this_process(), started_at=0.0)
    assert state_shown(run("a", state=state, worker=dead, heartbeat_at=ago(1))) == "lost"


@pytest.mark.parametrize("state", ["queued", "stopped", "finished", "failed"])
def test_a_state_without_a_worker_stands(state: str) -> None:
    assert state_shown(run("a", state=state, worker=replace(this_process(), started_at=0.0))) == state


def test_a_clock_that_was_put_back_is_no_silence() -> None:
    assert seconds_since(ago(-3600)) == 0
    assert seconds_since(None) == 0
    assert seconds_since(ago(30)) == pytest.approx(30, abs=2)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's count is read from /proc")
def test_a_process_is_told_by_the_kernels_count_and_not_by_the_wall_clock() -> None:
    """psutil's create_time moves with the wall clock's boot time; this one does not."""
    from pathlib import Path

    me = this_process()
    assert me.host == platform.node()
    assert 0 < me.started_at < float(Path("/proc/uptime").read_text().split()[0]) + 1


def test_a_name_with_brackets_and_blanks_does_not_confuse_it() -> None:
    code = "import ctypes, sys; ctypes.CDLL(None).prctl(15, b'a) R 1 (b', 0, 0, 0); print(flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    worker = identity(child.pid)
    assert liveness(worker) == "alive"
    child.communicate()
    assert liveness(worker) == "dead"
    with pytest.raises(ProcessLookupError):
        identity(child.pid)
