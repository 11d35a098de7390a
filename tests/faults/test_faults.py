"""Faults for real: killed workers, runners and watchers, signals, damaged checkpoints, a full disk, a moving clock.

A bounded number of them; `make soak` kills many more.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from peftbench.errors import MissingError
from peftbench.jobs import control
from peftbench.jobs.follow import Update
from peftbench.jobs.launch import Launched, launch
from peftbench.jobs.liveness import liveness, state_shown
from peftbench.jobs.lock import RunnerLock
from peftbench.paths import run_folder
from peftbench.spec import Resolved
from peftbench.store.reader import Reader
from peftbench.store.rows import Run, RunSettings
from peftbench.store.writer import Writer
from tests.faults.finals import differences, final, unsound
from tests.faults.soak import soak
from tests.patience import PATIENCE_S

PEFTBENCH = [sys.executable, "-m", "peftbench"]
OFTEN = RunSettings(checkpoint_minutes=0.002)
STEPS = ["train.epochs=16", "encoder.dropout=0.1"]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return {}


@pytest.fixture
def left_alone(expected: dict[str, Any], tiny: Callable[..., Resolved], tmp_path: Path) -> dict[str, Any]:
    """What `spec` comes to when nobody interrupts it."""
    if not expected:
        database = tmp_path / "alone.db"
        launched = launch(tiny("lora-r12", STEPS), database, settings=OFTEN)
        assert followed(launched).state == "finished", launched.log.read_text()
        expected.update(final(database, launched.run_id))
    return expected


def followed(launched: Launched, act: Callable[[Update], None] = lambda update: None) -> Run:
    for update in launched.follow(0.05):
        act(update)
    return update.run


def kill(pid: int | None, number: signal.Signals = signal.SIGKILL) -> None:
    assert pid
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def ended(database: Path, run_id: str, seconds: float = PATIENCE_S) -> Run:
    """Wait for a run's end by looking only: nobody here starts what drains the queue."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with Reader(database) as reader:
            run = reader.run(run_id)
        if run.state in ("finished", "failed", "stopped", "lost"):
            return run
        time.sleep(0.2)
    raise AssertionError(f"run {run_id} is {run.state} after {seconds:.0f} s")


def working(database: Path, run_id: str, epochs: int = 1, seconds: float = PATIENCE_S) -> Run:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with Reader(database) as reader:
            run = reader.run(run_id)
        if run.epochs_done >= epochs and run.worker is not None:
            return run
        time.sleep(0.05)
    raise AssertionError(f"run {run_id} has done {run.epochs_done} epochs after {seconds:.0f} s")


def stopped_in_the_middle(tiny: Callable[..., Resolved], db: Path) -> Run:
    launched = launch(tiny("lora-r12", STEPS), db, settings=OFTEN)
    run = followed(
        launched, lambda update: launched.stop() if update.run.epochs_done > 5 and not launched.stops_asked else None
    )
    assert run.state == "stopped", launched.log.read_text()
    return run


@pytest.mark.soak
def test_killed_workers_and_runners_come_to_the_same_bits(tmp_path: Path) -> None:
    tally = soak(tmp_path, points=3, at_once=1, seed=5, variants=("lora, dropout",))
    assert (tally.points, tally.identical, tally.wrong) == (3, 3, [])
    assert tally.kills >= 3


@pytest.mark.soak
def test_what_drains_the_queue_is_killed_with_nobody_looking(db: Path, tiny: Callable[..., Resolved]) -> None:
    first = launch(tiny("lora-r12", ["train.epochs=300"]), db)
    second = launch(tiny("last-layer"), db)
    working(db, first.run_id)
    kill(RunnerLock(db).holder())
    assert ended(db, first.run_id).state == "finished"
    assert ended(db, second.run_id).state == "finished"
    assert unsound(db) == []


@pytest.mark.slow
@pytest.mark.soak
def test_a_watcher_that_is_killed_and_hang_ups_touch_no_run(
    db: Path, tiny: Callable[..., Resolved], left_alone: dict[str, Any]
) -> None:
    launched = launch(tiny("lora-r12", STEPS), db, settings=OFTEN)
    watcher = subprocess.Popen([*PEFTBENCH, "watch", "--plain", "--db", str(db)], stdout=subprocess.DEVNULL)
    run = working(db, launched.run_id)
    kill(watcher.pid)
    watcher.wait()
    kill(run.worker.pid if run.worker else None, signal.SIGHUP)
    kill(RunnerLock(db).holder(), signal.SIGHUP)
    assert ended(db, launched.run_id).attempt == 1
    assert differences(left_alone, final(db, launched.run_id)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    ["cut", pytest.param("altered", marks=pytest.mark.soak), pytest.param("all", marks=pytest.mark.soak)],
)
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_used(
    damage: str, db: Path, tiny: Callable[..., Resolved], left_alone: dict[str, Any]
) -> None:
    run = stopped_in_the_middle(tiny, db)
    checkpoints = sorted(run_folder(db, run.id).glob("*.ckpt"), key=lambda path: int(path.stem.split("-")[1]))
    assert len(checkpoints) == 2
    for path in checkpoints if damage == "all" else checkpoints[-1:]:
        content = path.read_bytes()
        middle = len(content) // 2
        altered = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes(altered if damage == "altered" else content[:middle])
    control.resume(db, run)
    assert followed(Launched(run.id, db)).state == "finished"
    with Reader(db) as reader:
        notes = [event.message for event in reader.record(reader.run(run.id)).events if event.kind == "resume"]
    assert any(checkpoints[-1].stem in note for note in notes), notes
    assert differences(left_alone, final(db, run.id)) == []
    assert unsound(db) == []


@pytest.mark.slow
def test_of_two_resumes_at_once_one_wins(db: Path, tiny: Callable[..., Resolved], left_alone: dict[str, Any]) -> None:
    run = stopped_in_the_middle(tiny, db)
    both = [
        subprocess.Popen(
            [*PEFTBENCH, "resume", run.id, "--detach", "--db", str(db)], stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = [process.communicate()[1].decode() for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    assert ended(db, run.id).attempt == 2
    assert differences(left_alone, final(db, run.id)) == []


def in_a_small_place(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script that sees an 8 MiB file system of its own at $SMALL; skips where that is not allowed."""
    small = tmp_path / "small"
    small.mkdir()
    mount = f"mount -t tmpfs -o size=8m tmpfs {small}"
    words = ["unshare", "-Urm", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*words, mount], capture_output=True).returncode:
        pytest.skip("a file system of its own needs unshare and user namespaces")
    variables = {**os.environ, "SMALL": str(small), "PEFTBENCH_DB": str(small / "runs.db")}
    return subprocess.run(
        [*words, f"{mount} && {script}"], env=variables, capture_output=True, text=True, timeout=200, cwd=Path.cwd()
    )


@pytest.mark.slow
@pytest.mark.soak
def test_a_full_disk_is_waited_for_and_nothing_is_lost(
    tmp_path: Path, tiny: Callable[..., Resolved], left_alone: dict[str, Any]
) -> None:
    spec = tmp_path / "spec.txt"
    spec.write_text("\n".join(tiny_sets(tiny)))
    peftbench = " ".join(PEFTBENCH)
    script = f"""
        id=$({peftbench} run -p lora-r12 --detach --checkpoint-minutes 0.002 $(sed 's/^/--set /' {spec}) 2>/dev/null)
        log=$SMALL/runs.db-runs/$id/worker.log
        for i in $(seq 300); do grep -q '^epoch 3:' $log 2>/dev/null && break; sleep 0.1; done
        dd if=/dev/zero of=$SMALL/filler bs=4k 2>/dev/null
        for i in $(seq 100); do grep -q 'cannot be written' $log && break; sleep 0.1; done
        sleep 0.5; rm $SMALL/filler
        {peftbench} watch $id --plain || cat $log
        grep -c 'cannot be written' $log
        for i in $(seq 60); do pgrep -f "jobs.runner --db $SMALL" > /dev/null || break; sleep 0.2; done
        cp -r $SMALL {tmp_path}/kept; echo "id $id"
    """
    done = in_a_small_place(tmp_path, script)
    run_id = done.stdout.split()[-1]
    kept = tmp_path / "kept" / "runs.db"
    assert "finished: best epoch" in done.stdout, done.stdout + done.stderr
    assert differences(left_alone, final(kept, run_id)) == [], done.stdout
    assert unsound(kept) == []
    with Reader(kept) as reader:
        kinds = [event.kind for event in reader.record(reader.run(run_id)).events]
    assert "storage" in kinds


@pytest.mark.slow
def test_a_database_that_cannot_be_written_starts_nothing(tmp_path: Path) -> None:
    peftbench = " ".join(PEFTBENCH)
    script = f"mount -o remount,ro $SMALL; {peftbench} run -p lora-r12 --detach; echo code $?"
    done = in_a_small_place(tmp_path, script)
    assert done.stdout.strip() == "code 3"
    assert "error: database" in done.stderr
    assert "Traceback" not in done.stderr


def tiny_sets(tiny: Callable[..., Resolved]) -> list[str]:
    """Return the overrides of the run that was left alone, as `--set` takes them."""
    from tests.tiny import tiny_overrides

    resolved = tiny("lora-r12", STEPS)
    return [*tiny_overrides(Path(resolved.spec.encoder.name)), *STEPS]


@pytest.mark.slow
@pytest.mark.soak
def test_a_clock_that_jumps_a_day_confuses_nobody(
    tmp_path: Path,
    db: Path,
    tiny: Callable[..., Resolved],
    left_alone: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("moving a process's clock needs gcc")
    library, shift = tmp_path / "clock.so", tmp_path / "shift"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", str(source), "-o", str(library), "-ldl"], check=True)
    monkeypatch.setenv("PEFTBENCH_CLOCK", str(shift))
    monkeypatch.setenv("LD_PRELOAD", str(library))
    launched = launch(tiny("lora-r12", STEPS), db, settings=OFTEN)
    for epochs, seconds in ((3, 86_400), (7, -86_400), (11, 0)):
        working(db, launched.run_id, epochs)
        shift.write_text(str(seconds))
    run = ended(db, launched.run_id)
    assert (run.state, run.attempt) == ("finished", 1)
    assert differences(left_alone, final(db, launched.run_id)) == []
    with Reader(db) as reader:
        states = [e.message for e in reader.record(run).events if e.kind == "state"]
    assert states == ["queued", "starting", "running", "finished"]


def gone(database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", ["deleted", *(pytest.param(f"replaced by {by}", marks=pytest.mark.soak) for by in ("another", "a backup"))]
)
def test_a_database_that_goes_while_a_run_works_leaves_its_checkpoints(
    what: str, db: Path, tmp_path: Path, tiny: Callable[..., Resolved]
) -> None:
    launched = launch(tiny("lora-r12", ["train.epochs=5000", "encoder.dropout=0.1"]), db, settings=OFTEN)
    run = working(db, launched.run_id, epochs=2)
    backup = tmp_path / "backup.db"
    with closing(sqlite3.connect(db)) as source, closing(sqlite3.connect(backup)) as copy:
        source.backup(copy)
    updates = launched.follow(0.05)
    next(updates)
    gone(db)
    if what == "replaced by another":
        Writer(db).__exit__(None, None, None)
    elif what == "replaced by a backup":
        backup.rename(db)
    with pytest.raises(MissingError, match=r"it was deleted, moved or replaced while run .* was followed"):
        for _ in updates:
            pass
    assert run.worker is not None
    while liveness(run.worker) == "alive":
        time.sleep(0.05)
    folder = run_folder(db, run.id)
    assert list(folder.glob("checkpoint-*.ckpt")), launched.log.read_text()
    assert list(folder.glob("epoch-*.safetensors"))
    assert "it was deleted, moved or replaced during the run" in launched.log.read_text()
    if what == "replaced by a backup":
        with Reader(db) as reader:
            known = reader.run(run.id)
        assert (known.state, known.failure) == ("failed", "storage")
        assert "checkpoints are kept" in (known.reason or "")
    else:
        assert db.exists() == (what != "deleted")


@pytest.mark.slow
@pytest.mark.soak
def test_a_run_goes_on_over_a_backup_to_the_same_bits(
    db: Path, tmp_path: Path, tiny: Callable[..., Resolved], left_alone: dict[str, Any]
) -> None:
    """The backup lacks epochs that the checkpoints have: they are made again."""
    launched = launch(tiny("lora-r12", STEPS), db, settings=OFTEN)
    working(db, launched.run_id, epochs=1)
    backup = tmp_path / "backup.db"
    with closing(sqlite3.connect(db)) as source, closing(sqlite3.connect(backup)) as copy:
        source.backup(copy)
    run = followed(
        launched, lambda update: launched.stop() if update.run.epochs_done > 9 and not launched.stops_asked else None
    )
    assert run.state == "stopped", launched.log.read_text()
    until_drained(db)
    gone(db)
    backup.rename(db)
    with Reader(db) as reader:
        known = reader.run(run.id)
    assert state_shown(known) == "lost"
    control.resume(db, known)
    assert followed(Launched(run.id, db)).state == "finished", launched.log.read_text()
    assert differences(left_alone, final(db, run.id)) == []


def until_drained(database: Path) -> None:
    while RunnerLock(database).holder() is not None:
        time.sleep(0.05)
