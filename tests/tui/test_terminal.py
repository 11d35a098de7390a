"""The dashboard as a process: refusals, terminal state afterwards, and no import of torch."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.processes import Terminal, ran
from tests.processes import terminal_environment as environment

HINT = "peftbench watch --plain"


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("replay", "latest")])
def test_a_pipe_is_refused_with_what_to_do_instead(words: tuple[str, ...]) -> None:
    told = ran(*words)
    assert told.returncode == 2
    assert told.stdout == ""
    assert "needs a terminal" in told.stderr
    assert HINT in told.stderr
    assert "\x1b" not in told.stderr


def test_a_dumb_terminal_is_refused_without_an_escape(tmp_path: Path) -> None:
    terminal = Terminal("--db", str(tmp_path / "runs.db"), TERM="dumb")
    told = terminal.rest()
    terminal.close()
    assert terminal.process.returncode == 2
    assert HINT.encode() in told
    assert b"\x1b" not in told


@pytest.mark.slow
@pytest.mark.parametrize(("end", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), ("q", 0)])
def test_the_terminal_is_as_it_was_however_it_ends(tmp_path: Path, end: signal.Signals | str, code: int) -> None:
    terminal = Terminal("--db", str(tmp_path / "runs.db"))
    try:
        terminal.read_until(b"No runs yet")
        if isinstance(end, str):
            os.write(terminal.master, end.encode())
        else:
            os.kill(terminal.process.pid, end)
        told = terminal.rest()
        assert terminal.process.returncode == code
        for switched_on, switched_off in (
            (b"\x1b[?1049h", b"\x1b[?1049l"),
            (b"\x1b[?25l", b"\x1b[?25h"),
            (b"\x1b[?1000h", b"\x1b[?1000l"),
        ):
            assert told.rfind(switched_off) > told.rfind(switched_on) >= 0, switched_off
        assert termios.tcgetattr(terminal.slave)[:4] == terminal.before[:4]
        assert not (tmp_path / "runs.db").exists()
    finally:
        terminal.close()


@pytest.mark.slow
def test_no_colour_means_no_colour(tmp_path: Path) -> None:
    terminal = Terminal("--db", str(tmp_path / "runs.db"), NO_COLOR="1")
    try:
        terminal.read_until(b"No runs yet")
        os.write(terminal.master, b"q")
        colors = set(re.findall(rb"\x1b\[[0-9;]*?38;2;(\d+);(\d+);(\d+)", terminal.rest()))
        assert all(red == green == blue for red, green, blue in colors)
    finally:
        terminal.close()


def test_options_before_a_command_are_refused(tmp_path: Path) -> None:
    told = ran("--db", str(tmp_path / "x.db"), "runs")
    assert told.returncode == 2
    assert "peftbench runs --db FILE" in told.stderr


@pytest.mark.slow
def test_a_theme_that_is_none() -> None:
    told = ran("serve", "--theme", "textual-drak")
    assert told.returncode == 2
    assert "did you mean 'textual-dark'" in told.stderr


@pytest.mark.slow
def test_a_port_that_is_taken() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told = ran("serve", "--port", str(taken.getsockname()[1]))
    assert told.returncode == 2
    assert "--port" in told.stderr


def test_a_replay_of_what_never_trained(tmp_path: Path) -> None:
    terminal = Terminal("replay", "nothing", "--db", str(tmp_path / "runs.db"))
    told = terminal.rest()
    terminal.close()
    assert terminal.process.returncode == 3
    assert b"no runs yet" in told


@pytest.mark.slow
def test_torch_is_never_in_the_dashboard(tmp_path: Path) -> None:
    code = """
import asyncio, sys
from pathlib import Path
from tests.tui.world import *
from peftbench.tui.screens.dashboard import Dashboard
async def test(pilot, app):
    for key in "n escape c escape enter escape question_mark escape l escape t x w".split():
        await pilot.press(key)
        await pilot.pause()
drive(test, Given(snapshot(run_record(), going_on())), database=Path(sys.argv[1]))
heavy = [name for name in ("torch", "transformers", "peft", "datasets", "matplotlib") if name in sys.modules]
print("heavy:", heavy)
"""
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "runs.db")], capture_output=True, text=True, env=environment()
    )
    assert told.returncode == 0, told.stderr
    assert "heavy: []" in told.stdout
