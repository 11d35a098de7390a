"""How a worker's threads wait for each other: as the machine is unless somebody said otherwise, at the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from peftbench.jobs.launch import launch
from peftbench.spec import Resolved
from peftbench.store.reader import Reader
from peftbench.store.rows import Run
from peftbench.threads import choose_waiting, used_by_others, waiting
from tests.faults.finals import differences, final

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.mark.parametrize(
    ("said", "used", "added", "recorded"),
    [
        ({}, 0.1, {"GOMP_SPINCOUNT": "10000"}, "GOMP_SPINCOUNT=10000"),
        ({}, 0.5, {"OMP_WAIT_POLICY": "passive"}, "passive"),
        ({"OMP_WAIT_POLICY": ""}, 0.5, {"OMP_WAIT_POLICY": "passive"}, "passive"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, 0.5, {}, "active"),
        ({"GOMP_SPINCOUNT": "1000"}, 0.5, {}, "GOMP_SPINCOUNT=1000"),
        ({"KMP_BLOCKTIME": "0"}, 0.1, {}, "KMP_BLOCKTIME=0"),
        ({"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "0"}, 0.1, {}, "GOMP_SPINCOUNT=0"),
        ({"OMP_NUM_THREADS": "3"}, 0.1, {"GOMP_SPINCOUNT": "10000"}, "GOMP_SPINCOUNT=10000"),
        ({"OMP_NUM_THREADS": "1"}, 0.1, {"OMP_WAIT_POLICY": "passive"}, "passive"),
    ],
)
def test_threads_wait_as_the_machine_is_and_a_users_own_setting_is_kept(
    said: dict[str, str], used: float, added: dict[str, str], recorded: str
) -> None:
    variables = dict(said)
    choose_waiting(variables, lambda: used)
    assert variables == {**said, **added}
    assert waiting(variables) == recorded


def test_one_thread_waits_for_nobody_and_nothing_is_looked_at() -> None:
    choose_waiting({"OMP_NUM_THREADS": "1"}, lambda: pytest.fail("it was looked at"))
    assert 0 <= used_by_others() <= 1


def test_where_nothing_was_said_threads_were_active() -> None:
    assert waiting({}) == "active"


def test_a_workers_module_does_not_load_what_reads_the_variable() -> None:
    """OpenMP reads it when it is loaded: set later, it has no effect."""
    script = "import sys, peftbench.jobs.worker; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GNU's OpenMP shows what it reads")
def test_openmp_hears_it_in_a_worker(tmp_path: Path) -> None:
    script = (
        "import os\nfrom peftbench.threads import choose_waiting\n"
        "choose_waiting(os.environ, lambda: 1.0)\nimport torch\ntorch.ones(1)"
    )
    variables = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**variables, "OMP_DISPLAY_ENV": "TRUE"},
    )
    if "OMP_WAIT_POLICY" not in done.stderr:
        pytest.skip("this torch's OpenMP does not show its settings")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr


@pytest.mark.soak
def test_runs_record_how_they_waited_and_come_to_the_same_bits(
    tmp_path: Path, tiny: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    finals, recorded = [], []
    for place, spins in enumerate(["0", "100"]):
        for name in NAMES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("GOMP_SPINCOUNT", spins)
        database = tmp_path / f"{place}.db"
        run = ended(launch(tiny("lora-r12", ["train.epochs=1"]), database).run_id, database)
        recorded.append((run.conditions["threads"], run.conditions["omp_wait_policy"]))
        finals.append(final(database, run.id))
    assert recorded == [(2, "GOMP_SPINCOUNT=0"), (2, "GOMP_SPINCOUNT=100")]
    assert differences(*finals) == []


def ended(run_id: str, database: Path) -> Run:
    from peftbench.jobs.follow import follow

    for _ in follow(database, run_id):
        pass
    with Reader(database) as reader:
        run = reader.run(run_id)
    assert run.state == "finished", run.reason
    return run
