"""Exit of a worker's process: at once, with all output flushed, unless a thread is still running."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import atexit, sys, threading
from peftbench.jobs.worker import leave
atexit.register(print, "taken apart")
print("printed")
print("said", file=sys.stderr)
{more}
leave(7)
"""


def run(more: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SCRIPT.format(more=more)], capture_output=True, text=True)


def test_it_exits_at_once_with_its_code_and_output() -> None:
    done = run()
    assert (done.returncode, done.stdout, done.stderr) == (7, "printed\n", "said\n")


def test_a_running_thread_is_waited_for() -> None:
    more = "import time; threading.Thread(target=lambda: (time.sleep(0.2), print('done'))).start()"
    done = run(more)
    assert (done.returncode, done.stdout) == (7, "printed\ndone\ntaken apart\n")
