"""Unwritable output, closed streams, limited encodings: no traceback, and the right exit codes."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from peftbench.errors import MissingError
from peftbench.store.reader import Reader
from peftbench.store.rows import ACTIVE_STATES
from tests.marks import soaked_but
from tests.store.life import Life
from tests.stored import create
from tests.tiny import tiny_overrides

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PEFTBENCH = f"{sys.executable} -m peftbench"

ENCODINGS = ("ascii", "latin-1", "utf-8")
PRINTING = ("runs", "show latest", "show latest --spec", "queue", "presets")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    life = Life(tmp_path / "runs.db")
    for number in range(3):
        create(life, f"größe-–-{number}")
    life.close()
    return tmp_path / "runs.db"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, cwd=ROOT, env={**os.environ, **environment}, timeout=300, check=False
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "words",
    soaked_but(
        ["runs --json", "show", "--help", "queue"],
        ["runs", "runs --json", "show", "presets", "--help", "--version", "queue"],
    ),
)
def test_a_full_disk_is_one_line_and_a_failure(db: Path, words: str) -> None:
    option = "" if words.startswith("-") or words == "presets" else f"--db {db}"
    done = shell(f"{PEFTBENCH} {words} {option} > /dev/full")
    assert done.returncode == 1
    assert done.stderr.decode() == "error: standard output cannot be written: No space left on device\n"


def test_a_closed_output_is_one_line_and_a_failure(db: Path) -> None:
    done = shell(f"{PEFTBENCH} runs --db {db} >&-")
    assert (done.returncode, done.stderr) == (1, b"error: standard output cannot be written: it is closed\n")
    assert shell(f"{PEFTBENCH} runs --db {db} >&- 2>&-").returncode == 1
    assert shell(f"{PEFTBENCH} show nobody --db {db} >&- 2>&-").returncode == MissingError.exit_code
    assert shell(f"{PEFTBENCH} show nobody --db {db} 2>/dev/full").returncode == MissingError.exit_code
    assert shell(f"{PEFTBENCH} show latest --db {db} <&- >/dev/null").returncode == 0
    with Reader(db) as reader:  # the database did not get the descriptor of a closed stream
        assert len(reader.runs()) == 3


@pytest.mark.parametrize("words", soaked_but(["runs", "show --spec"], ["runs", "runs --json", "show --spec"]))
def test_a_reader_that_goes_is_told_nothing(db: Path, words: str) -> None:
    done = shell(f"{PEFTBENCH} {words} --db {db} | true; exit ${{PIPESTATUS[0]}}")
    assert done.stderr == b""
    assert done.returncode in (0, 1)  # it may have finished before the reader closed the pipe
    assert b"Traceback" not in shell(f"{PEFTBENCH} {words} --db {db} | head -n 1").stderr


@pytest.mark.parametrize(
    ("words", "encoding"),
    soaked_but(
        [*(("runs", encoding) for encoding in ENCODINGS), *((words, "ascii") for words in PRINTING)],
        [(words, encoding) for words in PRINTING for encoding in ENCODINGS],
    ),
)
def test_what_an_encoding_lacks_is_replaced(db: Path, words: str, encoding: str) -> None:
    option = "" if words == "presets" else f"--db {db}"
    done = shell(f"{PEFTBENCH} {words} {option}", PYTHONIOENCODING=encoding, LANG="C")
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    if words == "runs":
        names = {"ascii": "gr??e---2", "latin-1": "größe---2", "utf-8": "größe-–-2"}
        assert names[encoding] in text


@pytest.mark.parametrize(
    "streams", ["<&- >&- 2>&-", *(pytest.param(fewer, marks=pytest.mark.soak) for fewer in (">&-", ">&- 2>&-"))]
)
def test_a_run_is_queued_though_nothing_can_be_printed(tmp_path: Path, tiny_encoder: Path, streams: str) -> None:
    sets = " ".join(f"--set {shlex.quote(override)}" for override in tiny_overrides(tiny_encoder))
    path = tmp_path / "x.db"
    done = shell(f"{PEFTBENCH} run -p last-layer --headless --detach --db {path} {sets} {streams}")
    assert done.returncode == 0
    with Reader(path) as reader:
        (run,) = reader.runs()
        until = time.monotonic() + 300
        while reader.run(run.id).state in ACTIVE_STATES and time.monotonic() < until:
            time.sleep(0.2)
        assert reader.run(run.id).state == "finished"


def test_a_run_is_followed_though_nothing_can_be_printed(tmp_path: Path) -> None:
    life = Life(tmp_path / "runs.db")
    run_id = create(life, "mine")
    life.claim(run_id)
    life.finish(run_id, "finished")
    life.close()
    done = shell(f"{PEFTBENCH} watch {run_id} --db {life.path} >&-")
    assert (done.returncode, done.stderr) == (1, b"error: standard output cannot be written: it is closed\n")
    assert shell(f"{PEFTBENCH} watch {run_id} --db {life.path} >&- 2>&-").returncode == 1
