"""The dashboard in a browser: it listens where it was told, and warns where others can reach it."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tui.test_terminal import PEFTBENCH, Terminal, environment

pytest.importorskip("textual_serve")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(*words: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*PEFTBENCH, "serve", "--port", str(port), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


def page(port: int) -> str:
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                return str(answer.read(), "utf-8")
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_a_page_and_a_warning_where_others_can_reach_it(tmp_path: Path, host: str, warned: bool) -> None:
    port = free_port()
    with serving("--host", host, "--db", str(tmp_path / "runs.db"), port=port) as process:
        shown = page(port)
        assert "peftbench" in shown
        process.terminate()
        assert process.stderr is not None
        told = process.stderr.read().decode()
    assert f"http://{host}:{port} shows" in told
    assert ("there is no login" in told) == warned


@pytest.mark.slow
def test_a_replay_on_a_terminal(tmp_path: Path) -> None:
    """From the first moment to the end, in the real program, of a run that a store holds."""
    from peftbench.store.rows import Epoch, SampleRow, Score, now
    from tests.store.life import Life
    from tests.tui.test_source import new

    life = Life(tmp_path / "runs.db")
    run_id = new(life, name="played-1")
    life.claim(run_id)
    for number in (1, 2):
        scores = [
            Score(number, task, split, "accuracy", 0.5 + number / 10, None, 0.5, 10)
            for task in ("sst", "paraphrase", "sts")
            for split in ("train", "dev")
        ]
        ended = Epoch(number, 0.5 + number / 10, None, None, now())
        life.put_epoch(run_id, ended, scores, [], best_epoch=number, task_bests=[], predictions=[])
        life.put_samples(run_id, [SampleRow(number, time.time(), "train", rss_mib=500.0)])
        time.sleep(0.05)
    life.finish(run_id, "finished")
    life.close()
    terminal = Terminal("replay", "played-1", "--speed", "0.05", "--db", str(tmp_path / "runs.db"))
    try:
        terminal.read_until(b"replay x0.05")
        terminal.read_until(b"running")
        terminal.read_until(b"finished")
        terminal.read_until(b"0.700")
    finally:
        terminal.close()
