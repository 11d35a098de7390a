"""The command `peftbench doctor`: lines, JSON, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from peftbench.cli import app
from peftbench.doctor import Check, Finding
from peftbench.doctor.findings import fail, ok, warn
from tests.patience import PATIENCE_S
from tests.sim.library import environment
from tests.sim.machine import STILL


def doctor(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "peftbench", "doctor", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        timeout=PATIENCE_S,
    )


@pytest.mark.slow
def test_json_has_counts_and_every_check(nvml_library: Path, tmp_path: Path) -> None:
    scenario = STILL.with_card(1, name="T4\x1b[2J\u202e").write(tmp_path / "cards.scenario")
    done = doctor("--json", "--quick", "--db", tmp_path / "x.db", **environment(nvml_library, scenario))
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert set(found) == {"counts", "checks"}
    assert list(found["counts"]) == ["ok", "warn", "fail", "skip"]
    assert all(set(check) == {"check", "state", "detail", "remedy"} for check in found["checks"])
    of = {check["check"]: check for check in found["checks"]}
    assert len(of) == len(found["checks"]) == sum(found["counts"].values())
    assert done.returncode == (1 if found["counts"]["fail"] else 0)
    assert of["gpus"]["detail"] == "gpu 0: NVIDIA RTX A6000, gpu 1: T4"
    assert of["gpu 0 cadence"] == {
        "check": "gpu 0 cadence",
        "state": "skip",
        "detail": "skipped by --quick",
        "remedy": None,
    }
    assert of["hub"]["state"] == "skip"  # the tests are offline
    assert of["embedded encoder"]["state"] == "ok"
    assert not (tmp_path / "x.db").exists()


@pytest.mark.slow
def test_a_broken_driver_and_a_folder_that_cannot_be_end_in_exit_code_1(nvml_library: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    scenario = replace(STILL, init_error="LIB_RM_VERSION_MISMATCH").write(tmp_path / "cards.scenario")
    below = tmp_path / "file" / "x.db"
    done = doctor("--db", below, "--meter-gpu", "0", **environment(nvml_library, scenario))
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    failed = [line.removeprefix("fail").split()[0] for line in lines if line.startswith("fail")]
    assert failed == ["driver", "gpus", "database"]
    assert "reboot" in done.stdout
    assert "--db FILE" in done.stdout
    assert "3 fail" in lines[-1]
    assert "\x1b" not in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(("last", "code"), [(warn("b", "odd", "see to it"), 0), (fail("b", "bad", "mend it"), 1)])
def test_only_a_failed_check_ends_in_exit_code_1(last: Finding, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {"only": lambda options: [Check("a", lambda: ok("a", "fine")), Check("b", lambda: last)]}
    monkeypatch.setattr("peftbench.doctor.groups.GROUPS", groups)
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == code
    assert done.stdout.splitlines()[0].split() == ["ok", "a", "fine"]
    assert done.stdout.splitlines()[-1].startswith("1 ok, ")


def test_the_help_names_it() -> None:
    done = CliRunner().invoke(app, ["--help"])
    assert "doctor" in done.stdout
