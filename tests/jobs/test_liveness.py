"""A run's current state where it is not stored yet."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from peftbench.jobs import liveness as module
from peftbench.jobs.liveness import identity, liveness, of_this_machine, seconds_since, state_shown, this_process
from tests.factories import run_row as run


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def test_a_live_worker_without_heartbeat_is_stalled() -> None:
    me = this_process()
    assert state_shown(run("a", state="running", worker=me, heartbeat_at=ago(1))) == "running"
    assert state_shown(run("a", state="running", worker=me, heartbeat_at=ago(module.SILENT_S + 1))) == "stalled"
    assert state_shown(run("a", state="stopping", worker=me, heartbeat_at=ago(module.SILENT_S + 1))) == "stopping"


def test_a_worker_on_another_host_is_lost_after_a_long_silence_only() -> None:
    away = replace(this_process(), boot_id="another boot/4026531836", host="another host")
    assert state_shown(run("a", state="running", worker=away, heartbeat_at=ago(1))) == "running"
    assert state_shown(run("a", state="running", worker=away, heartbeat_at=ago(module.SILENT_S + 1))) == "stalled"
    assert state_shown(run("a", state="running", worker=away, heartbeat_at=ago(module.GONE_S + 1))) == "lost"


def test_a_machine_that_was_renamed_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    me = this_process()
    monkeypatch.setattr(platform, "node", lambda: "renamed")
    assert liveness(me) == "alive"
    assert of_this_machine(me)
    assert liveness(replace(me, started_at=0.0)) == "dead"


def test_a_process_of_another_namespace_is_judged_by_its_heartbeat() -> None:
    """Its PID denotes another process here, or none."""
    me = this_process()
    boot_id, _, namespace = me.boot_id.partition("/")
    away = replace(me, boot_id=f"{boot_id}/{int(namespace) + 1}", started_at=0.0)
    assert liveness(away) == "elsewhere"
    assert of_this_machine(away), "it takes a place on this machine's device"
    assert state_shown(run("a", state="running", worker=away, heartbeat_at=ago(1))) == "running"
    assert state_shown(run("a", state="running", worker=away, heartbeat_at=ago(module.SILENT_S + 1))) == "stalled"
    assert state_shown(run("a", state="running", worker=away, heartbeat_at=ago(module.GONE_S + 1))) == "lost"


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, "alive"),
        ({"started_at": 0.0}, "dead"),
        ({"boot_id": "another boot"}, "dead"),
        ({"host": "another host"}, "elsewhere"),
    ],
)
def test_rows_without_a_namespace_are_judged_as_before(changed: dict[str, Any], found: str) -> None:
    me = this_process()
    old = replace(me, boot_id=me.boot_id.partition("/")[0])
    assert liveness(replace(old, **changed)) == found


def test_from_a_pid_namespace_of_its_own_a_live_run_is_not_lost(tmp_path: Path) -> None:
    """With a real process in a new PID namespace, with its own /proc."""
    script = (
        "import sys, json; from peftbench.store.rows import Worker; from peftbench.jobs.liveness import liveness\n"
        "print(liveness(Worker(**json.loads(sys.argv[1]))))"
    )
    words = ["unshare", "-Urpf", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("a PID namespace of its own needs unshare and user namespaces")
    me = json.dumps(asdict(this_process()))
    done = subprocess.run([*words, sys.executable, "-c", script, me], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "elsewhere"


@pytest.mark.parametrize("state", ["running", "stalled", "stopping"])
def test_a_dead_worker_is_lost_in_every_state_that_needs_one(state: str) -> None:
    dead = replace(this_process(), started_at=0.0)
    assert state_shown(run("a", state=state, worker=dead, heartbeat_at=ago(1))) == "lost"


@pytest.mark.parametrize("state", ["queued", "stopped", "finished", "failed"])
def test_a_state_without_a_worker_is_unchanged(state: str) -> None:
    assert state_shown(run("a", state=state, worker=replace(this_process(), started_at=0.0))) == state


def test_a_clock_set_back_is_not_silence() -> None:
    assert seconds_since(ago(-3600)) == 0
    assert seconds_since(None) == 0
    assert seconds_since(ago(30)) == pytest.approx(30, abs=2)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's count is read from /proc")
def test_a_process_is_identified_by_the_kernels_start_time() -> None:
    """psutil's create_time depends on the wall clock; this start time does not."""
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
