"""`peftbench watch`: output, exit codes, and no effect on the run or the terminal."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from peftbench.jobs.liveness import this_process
from peftbench.spec import resolve
from peftbench.store.reader import Reader
from peftbench.store.rows import Progress, RunSettings, SampleRow, now
from tests.patience import PATIENCE_S
from tests.store.life import Life
from tests.stored import put_scored_epoch

WATCH = [sys.executable, "-m", "peftbench", "watch"]
SHOWN, HIDDEN = b"\x1b[?25h", b"\x1b[?25l"


class Store:
    """A database with a run that this process simulates."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer = Life(path)

    def start(self, name: str | None = None, claimed: bool = True) -> str:
        resolved = resolve("lora-r12", overrides=["train.epochs=3"])
        run_id = self.writer.create_run(
            spec_json=resolved.spec.canonical_json(),
            spec_hash=resolved.spec.hash(),
            group_hash=resolved.spec.group_hash(),
            origins=resolved.origins,
            name=name,
            settings=RunSettings(resumes=0),
        )
        if claimed:
            self.writer.claim(run_id, this_process())
        return run_id

    def epoch(self, run_id: str, number: int) -> None:
        score = 0.5 + number / 10
        put_scored_epoch(self.writer, run_id, number, score, score)

    def progress(self, run_id: str, step: int) -> None:
        self.writer.put_progress(run_id, Progress(1, "train", "sst", step, 50, step, 450, 9.5, now()))
        self.writer.put_samples(run_id, [SampleRow(step, time.time(), "train", rss_mib=512.0)])

    def finished(self, name: str | None = None) -> str:
        run_id = self.start(name)
        for number in (1, 2, 3):
            self.epoch(run_id, number)
        self.writer.finish(run_id, "finished")
        return run_id


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "runs.db")
    yield store
    store.writer.close()


def watch(store: Store, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*WATCH, *arguments, "--db", str(store.path)],
        capture_output=True,
        env={**os.environ, **environment},
        timeout=PATIENCE_S,
    )


@pytest.fixture
def spawn(store: Store) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `peftbench watch` with pipes; it is killed if it still runs after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        words = [*WATCH, *arguments, "--db", str(store.path)]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


class Terminal:
    """`peftbench watch` on a pseudo-terminal of 80 x 24."""

    def __init__(self, store: Store, *arguments: str, **environment: str) -> None:
        self.leader, self.follower = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(self.follower)
        hidden = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
        kept = {key: value for key, value in os.environ.items() if key not in hidden}
        self.process = subprocess.Popen(
            [*WATCH, *arguments, "--db", str(store.path)],
            stdin=self.follower,
            stdout=self.follower,
            stderr=self.follower,
            env={**kept, "TERM": "xterm-256color", **environment},
            start_new_session=True,
        )
        self.written = b""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, wanted: Callable[[bytes], bool], timeout_s: float = PATIENCE_S) -> bytes:
        """Read until the output satisfies a condition."""
        until = time.monotonic() + timeout_s
        while not wanted(self.written):
            assert time.monotonic() < until, f"not seen in {timeout_s} s: {self.written[-2000:]!r}"
            if select.select([self.leader], [], [], 0.1)[0]:
                self.written += os.read(self.leader, 65536)
        return self.written

    def until(self, text: str) -> bytes:
        return self.read(lambda written: text.encode() in written)

    def leave(self) -> int:
        """Wait for the process to end, reading its output, and return the exit code."""
        until = time.monotonic() + PATIENCE_S
        while self.process.poll() is None or select.select([self.leader], [], [], 0.1)[0]:
            assert time.monotonic() < until
            if select.select([self.leader], [], [], 0.1)[0]:
                self.written += os.read(self.leader, 65536)
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.leader)
        os.close(self.follower)

    def restored(self) -> bool:
        return (
            self.written.count(HIDDEN) == self.written.count(SHOWN)
            and self.written.rfind(SHOWN) > self.written.rfind(HIDDEN)
            and termios.tcgetattr(self.follower) == self.before
        )


@pytest.fixture
def terminal(store: Store) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def run(*arguments: str, **environment: str) -> Terminal:
        opened.append(Terminal(store, *arguments, **environment))
        return opened[-1]

    yield run
    for one in opened:
        one.close()


def text_of(written: bytes) -> str:
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written.decode(errors="ignore"))


def said(words: Sequence[str], text: str) -> None:
    for word in words:
        assert word in text, f"{word!r} is not in\n{text}"


class TestPlain:
    @pytest.mark.parametrize("arguments", [("--plain",), ()])
    def test_a_finished_run_is_its_title_its_epochs_and_its_end(self, store: Store, arguments: tuple[str, ...]) -> None:
        run_id = store.finished()
        done = watch(store, "latest", *arguments)
        assert (done.returncode, done.stderr) == (0, b"")
        lines = done.stdout.decode().splitlines()
        assert lines[0].startswith(f"lora-r12-1 ({run_id}): preset lora-r12 on workload quickstart")
        assert [line.split("  ")[0] for line in lines[2:5]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
        assert lines[1] == "scores: accuracy, Pearson r of sts; Dev Avg their mean"
        assert "sst 0.700" in lines[3]
        assert lines[5].startswith("lora-r12-1 finished: best epoch 3, dev avg 0.800")
        assert b"\x1b" not in done.stdout

    @pytest.mark.slow
    def test_a_running_run_is_followed_to_its_end(self, store: Store, spawn) -> None:
        store.finished("over")
        run_id = store.start("at-work")
        store.epoch(run_id, 1)
        process = spawn("--plain")
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"at-work ({run_id})")
        assert process.stdout.readline().startswith("scores: accuracy, ")
        assert process.stdout.readline().startswith("epoch 1/3")
        store.epoch(run_id, 2)
        assert process.stdout.readline().startswith("epoch 2/3")
        store.writer.finish(run_id, "finished")
        rest, _ = process.communicate(timeout=PATIENCE_S)
        assert rest.startswith("at-work finished: best epoch 2")
        assert len(rest.splitlines()) == 1
        assert process.returncode == 0

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("state", "code", "left_with", "next_step"),
        [("failed", 1, 1, "log"), ("failed", 3, 3, "log"), ("stopped", 130, 130, "resume")],
    )
    def test_the_exit_code_is_the_runs(
        self, store: Store, state: str, code: int, left_with: int, next_step: str
    ) -> None:
        run_id = store.start()
        store.writer.finish(run_id, state, "out of memory", code)  # type: ignore[arg-type]
        done = watch(store, run_id, "--plain")
        assert done.returncode == left_with
        said(
            [f"run lora-r12-1 ({run_id}) {state}: out of memory", f"peftbench {next_step} lora-r12-1"],
            done.stderr.decode(),
        )

    @pytest.mark.slow
    def test_a_run_whose_worker_died_is_lost(self, store: Store) -> None:
        run_id = store.start(claimed=False)
        store.writer.claim(run_id, dataclasses.replace(this_process(), started_at=1.0))
        done = watch(store, run_id, "--plain")
        assert done.returncode == 1
        assert b"lost: its worker died without recording an end" in done.stderr
        assert watch(store).returncode == 3, "and it is no run that is going on"

    @pytest.mark.slow
    def test_without_a_run_that_is_going_on_it_says_what_to_do(self, store: Store, tmp_path: Path) -> None:
        store.finished()
        done = watch(store)
        assert done.returncode == 3
        said(["no active run", "peftbench runs", "peftbench run --preset"], done.stderr.decode())
        assert watch(store, "nobody").returncode == 3
        assert not (tmp_path / "none.db").exists()

    @pytest.mark.slow
    def test_a_running_one_is_taken_before_a_newer_one_that_waits(self, store: Store, spawn) -> None:
        run_id = store.start("at-work")
        store.start("waiting", claimed=False)
        process = spawn()
        assert process.stdout is not None
        assert process.stdout.readline().startswith("at-work (")
        store.writer.finish(run_id, "finished")
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0

    def test_an_interval_that_makes_no_sense_is_refused(self, store: Store) -> None:
        assert watch(store, "--interval", "0").returncode == 2

    @pytest.mark.slow
    def test_ctrl_c_leaves_the_run_alone_and_says_how_to_go_on(self, store: Store, spawn) -> None:
        run_id = store.start("at-work")
        process = spawn("--plain")
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 130
        said(["the run continues; watch it again: peftbench watch at-work", "stop it: peftbench stop at-work"], errors)
        with Reader(store.path) as reader:
            assert reader.run(run_id).state == "running"


class TestLive:
    @pytest.mark.slow
    def test_it_draws_the_run_until_its_end_and_leaves_the_terminal_as_it_was(self, store: Store, terminal) -> None:
        run_id = store.start()
        store.start("next-one", claimed=False)
        store.progress(run_id, 5)
        screen = terminal()
        said(["preset lora-r12", "running", "no epoch has finished yet", "5/50"], text_of(screen.until("512 MiB")))
        store.epoch(run_id, 1)
        screen.until("0.600/0.600")
        said(["next-one", "●", "▲", "■", "╍ train"], text_of(screen.written))
        store.epoch(run_id, 2)
        screen.until("0.700/0.700")
        store.writer.finish(run_id, "finished")
        assert screen.leave() == 0
        assert screen.restored()
        last = text_of(screen.written[screen.written.rfind(b"preset lora-r12") :])
        said(["finished", "0.700/0.700", "lora-r12-1 finished: best epoch 2"], last)
        assert last.count("\n") <= 24, "the last picture and the end line are on the screen together"

    @pytest.mark.slow
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
    def test_it_leaves_the_terminal_and_the_run_alone_on_a_signal(self, store, terminal, number, code) -> None:
        run_id = store.start()
        screen = terminal()
        screen.until("epoch 0/3")
        screen.process.send_signal(number)
        assert screen.leave() == code
        assert screen.restored()
        assert (b"the run continues" in screen.written) == (number is signal.SIGINT)
        with Reader(store.path) as reader:
            assert reader.run(run_id).state == "running"

    @pytest.mark.slow
    def test_an_error_leaves_the_terminal_as_it_was(self, store: Store, terminal) -> None:
        run_id = store.start()
        screen = terminal()
        screen.until("epoch 0/3")
        with Reader(store.path) as reader:
            store.writer.finish(run_id, "failed", "gone", 1)
            store.writer.delete_run(reader.run(run_id))
        assert screen.leave() in (1, 3)
        assert screen.restored()
        assert b"Traceback" not in screen.written

    @pytest.mark.slow
    def test_it_follows_the_size_of_the_terminal(self, store: Store, terminal) -> None:
        store.start()
        screen = terminal()
        screen.until("epoch 0/3")
        seen = len(screen.written)
        screen.resize(50, 16)
        screen.read(lambda written: b"\x1b[2J" in written[seen:] and b"epoch 0/3" in written[seen:])
        lines = text_of(screen.written[screen.written.rfind(b"\x1b[2J") :]).split("\n")
        assert max(len(line.strip()) for line in lines) <= 50

    @pytest.mark.slow
    def test_no_color_means_none_and_ascii_means_ascii(self, store: Store, terminal) -> None:
        store.finished()
        plain = terminal("latest", NO_COLOR="1")
        assert plain.leave() == 0
        codes = {code for found in re.findall(rb"\x1b\[([\d;]*)m", plain.written) for code in found.split(b";")}
        assert codes <= {b"", b"0", b"1", b"2"}
        letters = terminal("latest", "--ascii")
        assert letters.leave() == 0
        assert letters.written.isascii()
        assert "A sst 0.800/0.800" in text_of(letters.written)

    @pytest.mark.slow
    def test_a_terminal_of_another_encoding_gets_ascii_by_itself(self, store: Store, terminal) -> None:
        store.finished("räksmörgås")
        screen = terminal("latest", PYTHONIOENCODING="ascii")
        assert screen.leave() == 0
        assert "A sst 0.800/0.800" in text_of(screen.written)
        assert watch(store, "latest", "--plain", PYTHONIOENCODING="ascii").stdout.startswith(b"r?ksm?rg?s (")

    @pytest.mark.parametrize("how", [{"TERM": "dumb"}, {}])
    def test_lines_on_a_terminal_that_is_none_or_where_asked_for(self, store: Store, terminal, how) -> None:
        store.finished()
        screen = terminal("latest", *([] if how else ["--plain"]), **how)
        assert screen.leave() == 0
        assert b"\x1b" not in screen.written
        assert screen.written.count(b"epoch ") == 4
