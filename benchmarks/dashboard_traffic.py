"""What an open dashboard sends to its terminal and computes, by state: the real program on a pseudo-terminal.

    python -m benchmarks.dashboard_traffic [--seconds N]

States: idle with twelve finished runs, the same covered by the help and by a run's view; three runs that train (new
progress four times a second, a sample a second, an epoch every four seconds), the same covered by the help.
"""

from __future__ import annotations

import argparse
import math
import os
import pty
import select
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peftbench.jobs.liveness import this_process
from peftbench.spec import resolve
from peftbench.store.rows import Epoch, EpochResult, Progress, SampleRow, Score, now
from peftbench.store.run_log import RunLog
from peftbench.store.writer import NewRun, Writer

_SIZE = (36, 120)  # rows, columns
_TASKS = ("sst", "paraphrase", "sts")
_SETTLE_S = 4.0  # after a key, before what is sent is counted


class Session:
    """A dashboard on a pseudo-terminal of 120x36, whose output is read and counted all the time."""

    def __init__(self, database: Path) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, _SIZE)
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        environment.pop("NO_COLOR", None)
        words = [sys.executable, "-P", "-m", "peftbench", "--db", str(database)]
        self._process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        self.sent = 0  # bytes to the terminal so far
        self._shown, self._ended = b"", False

    def write(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def wait_for(self, text: bytes, timeout_s: float = 60.0) -> None:
        """Wait until the dashboard has written a text.

        Raises:
            TimeoutError: it has not within the time.
        """
        end = time.monotonic() + timeout_s
        while text not in self._shown:
            if time.monotonic() > end:
                raise TimeoutError(f"the dashboard did not write {text!r} within {timeout_s:.0f} s")
            self._read_for(0.05)

    def press(self, key: str) -> None:
        """Press a key, and wait until the screen has settled."""
        self.write(key)
        self._read_for(_SETTLE_S)

    def measure(self, seconds: float) -> dict[str, float]:
        """Return the KB/s sent and the share of a core used (per cent) over so many seconds.

        Raises:
            RuntimeError: the dashboard has ended.
        """
        sent, busy_s, begun = self.sent, self._busy_s(), time.monotonic()
        self._read_for(seconds)
        wall_s = time.monotonic() - begun
        if self._ended:
            raise RuntimeError(f"the dashboard has ended:\n{self._shown[-2000:].decode(errors='replace')}")
        return {
            "kb_per_s": (self.sent - sent) / 1000 / wall_s,
            "core_pct": 100 * (self._busy_s() - busy_s) / wall_s,
        }

    def close(self) -> None:
        """Quit the dashboard."""
        self.write("q")
        self._read_for(1.0)
        self._process.terminate()
        self._process.wait(timeout=30)
        os.close(self._master)

    def _read_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0:
            if select.select([self._master], [], [], left_s)[0]:
                try:
                    new = os.read(self._master, 65_536)
                except OSError:  # the program has closed its terminal
                    self._ended = True
                    return
                self.sent += len(new)
                self._shown = (self._shown + new)[-1_000_000:]

    def _busy_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def traffic(folder: Path, seconds: float) -> dict[str, dict[str, float]]:
    """Return KB/s and the share of a core by state.

    Args:
        folder: an empty folder for the databases.
        seconds: how long each state is measured.
    """
    figures = {}
    idle = folder / "idle.db"
    _finished(idle, 12)
    session = Session(idle)
    session.press("")
    figures["idle"] = session.measure(seconds)
    for name, key, leave in (("help over idle", "?", "\x1b"), ("run view over idle", "\r", "\x1b")):
        session.press(key)
        figures[name] = session.measure(seconds)
        session.press(leave)
    session.close()
    trained = folder / "training.db"
    with _training(trained, 3):
        session = Session(trained)
        session.press("")
        figures["3 runs train"] = session.measure(seconds)
        session.press("?")
        figures["help over training"] = session.measure(seconds)
        session.press("\x1b")
        session.close()
    return figures


def lines(figures: dict[str, dict[str, float]]) -> Iterator[str]:
    """Yield a line a state."""
    for name, state in figures.items():
        yield f"{name:<20} {state['kb_per_s']:6.2f} KB/s to the terminal {state['core_pct']:6.2f} % of a core"


def _new_runs(path: Path, count: int) -> list[str]:
    new = []
    for seed in range(count):
        spec = resolve("lora-r12", seed=seed).spec
        new.append(NewRun(spec.canonical_json(), spec.hash(), spec.group_hash(), {}))
    with Writer(path) as writer:
        writer.create_runs(new)
        for run in new:
            writer.start(run.id, None)
    return [run.id for run in new]


def _finished(path: Path, count: int) -> None:
    for run_id in _new_runs(path, count):
        log = RunLog(path, run_id)
        log.claim(this_process())
        log.put_samples([_sample(number, time.time() - 100 + number) for number in range(1, 100)])
        for epoch in range(1, 11):
            log.put_epoch(_epoch(epoch))
        log.finish("finished", None, 0)
        log.__exit__(None, None, None)


@contextmanager
def _training(path: Path, count: int) -> Iterator[None]:
    """Write what so many workers write while they train, until the context is left."""
    ids, done = _new_runs(path, count), threading.Event()
    thread = threading.Thread(target=_train, args=(path, ids, done))
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _train(path: Path, ids: list[str], done: threading.Event) -> None:
    logs = [RunLog(path, run_id) for run_id in ids]  # connections belong to the thread that opens them
    for log in logs:
        log.claim(this_process())
    turn = 0
    while not done.wait(0.25):
        turn += 1
        for log in logs:
            log.beat()
            log.put_progress(Progress(1 + turn // 16, "train", "sst", turn % 16, 16, turn, 10_000, 11.5, now()))
            if turn % 4 == 0:
                log.put_samples([_sample(turn, time.time())])
            if turn % 16 == 0:
                log.put_epoch(_epoch(turn // 16))
    for log in logs:
        log.__exit__(None, None, None)


def _sample(number: int, at_s: float) -> SampleRow:
    power_w = 300 + 50 * math.sin(number / 9)
    return SampleRow(number, at_s, "train", power_w, 350.0, 300.0 * number, 43e3, 18e3 + number, 17e3, 18e3, 1980.0)


def _epoch(epoch: int) -> EpochResult:
    value = 0.8 - 0.5 / epoch
    scores = [Score(epoch, t, s, "accuracy", value, None, 0.5, 100) for t in _TASKS for s in ("train", "dev")]
    return EpochResult(Epoch(epoch, value, value, None, now()), scores, (), 1, (), ())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each state is measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for line in lines(traffic(Path(folder), arguments.seconds)):
            print(line)


if __name__ == "__main__":
    main()
