"""`peftbench reproduce`: confirmation, reuse of runs, outcomes, and the report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from peftbench.store.reader import Reader
from tests.patience import PATIENCE_S
from tests.tiny import tiny_encoder_into

PEFTBENCH = [sys.executable, "-P", "-m", "peftbench"]
TINY = """
encoder = {{ name = "{encoder}", pooling = "mean" }}
[tasks.sst]
source = {{ type = "quickstart", train = 12, dev = 40 }}
[tasks.paraphrase]
source = {{ type = "quickstart", train = 12, dev = 40 }}
[tasks.sts]
source = {{ type = "quickstart", train = 12, dev = 40 }}
[train]
epochs = 1
batch_size = 8
lr = 1e-3
[eval]
train_examples = 12
"""


def ran(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PEFTBENCH, *words],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_it_asks_and_where_nobody_can_answer_it_refuses(tmp_path: Path) -> None:
    told = ran("reproduce", "--db", "runs.db", cwd=tmp_path)
    assert told.returncode == 2
    assert "the study on workload quickstart: 18 runs: 18 to be run" in told.stdout
    assert "time: unknown" in told.stdout
    assert "GPU energy: unknown" in told.stdout
    assert "left out: dora-r12-augmented" in told.stdout
    assert "add --yes" in told.stderr
    assert not (tmp_path / "runs.db").exists()


@pytest.mark.slow
def test_a_report_that_could_not_be_written_is_said_before_anything_is_run(tmp_path: Path) -> None:
    told = ran("reproduce", "--yes", "--html", "nowhere/report.html", "--db", "runs.db", cwd=tmp_path)
    assert told.returncode == 3
    assert "no such folder: nowhere" in told.stderr
    assert not (tmp_path / "runs.db").exists()


@pytest.mark.slow
@pytest.mark.soak
def test_it_is_interrupted_and_picked_up_and_done_only_once(tmp_path: Path) -> None:
    encoder = tiny_encoder_into(tmp_path / "bert")
    (tmp_path / "tiny.toml").write_text(TINY.format(encoder=encoder))
    words = ("reproduce", "-w", "./tiny.toml", "--seeds", "1", "--yes", "--db", "runs.db")
    first = subprocess.Popen(
        [*PEFTBENCH, *words],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    assert any("1/9" in line for line in first.stdout)
    first.send_signal(signal.SIGINT)
    _, error = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 130
    assert (
        "the runs continue; to follow them again: peftbench reproduce --workload ./tiny.toml --seeds 1 --db runs.db"
        in error
    )

    told = ran(*words, cwd=tmp_path)
    assert told.returncode == 0, told.stderr + told.stdout
    assert "9 runs: " in told.stdout
    assert "already finished" in told.stdout
    assert "9/9" in told.stdout
    assert "NOT the study's workload" in told.stdout
    assert "these runs can show" in told.stdout
    page = (tmp_path / "study-tiny.html").read_text("utf-8")
    assert "claim by claim" in page
    with Reader(tmp_path / "runs.db") as reader:
        assert [run.state for run in reader.runs()] == ["finished"] * 9

    again = ran(*words, cwd=tmp_path)
    assert again.returncode == 0
    assert "9 already finished" in again.stdout
    with Reader(tmp_path / "runs.db") as reader:
        assert len(reader.runs()) == 9
