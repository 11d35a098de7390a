"""`peftbench` as processes of their own: with pipes, and on a terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time

from tests.patience import PATIENCE_S

PEFTBENCH = [sys.executable, "-P", "-m", "peftbench"]


def terminal_environment(**changes: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TEXTUAL_DRIVER", "COLORTERM")}
    return {**kept, "TERM": "xterm-256color", **changes}


class Terminal:
    """A process on a pseudo-terminal of its own."""

    def __init__(self, *words: str, size: tuple[int, int] = (30, 100), **changes: str) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, size)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            [*PEFTBENCH, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=terminal_environment(**changes),
            start_new_session=True,
        )
        self.output = b""

    def read_until(self, wanted: bytes, timeout_s: float = PATIENCE_S) -> None:
        """Read until the process has written something.

        Raises:
            AssertionError: it has not within the time.
        """
        end = time.monotonic() + timeout_s
        while wanted not in self.output:
            assert time.monotonic() < end, self.output[-2000:]
            if select.select([self.master], [], [], 0.1)[0]:
                self.output += os.read(self.master, 65536)

    def rest(self) -> bytes:
        """Wait for the end of the process, and return all of its output."""
        end = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < end
            self._drain(0.1)
        self._drain(0.2)
        return self.output

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def _drain(self, wait_s: float) -> None:
        while select.select([self.master], [], [], wait_s)[0]:
            self.output += os.read(self.master, 65536)


def ran(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PEFTBENCH, *words],
        env=terminal_environment(**changes),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def run_peftbench(*arguments: object, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PEFTBENCH, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=PATIENCE_S,
    )
