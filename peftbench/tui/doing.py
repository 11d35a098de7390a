"""What the dashboard does to runs: the same functions as the commands, with a sentence of what came of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from peftbench.errors import PeftbenchError
from peftbench.jobs import control
from peftbench.jobs.queue import enqueue, fresh_label
from peftbench.jobs.removal import remove
from peftbench.spec.resolve import resolve
from peftbench.store.rows import Run

DEMO = ("last-layer", "full", "lora-r12", "dora-r12")


def stop(database: Path, run: Run) -> str:
    """Stop a run, or ask it to."""
    state = control.stop(database, run)
    if state is None:
        return f"{run.name} has ended already"
    return f"{run.name} is {state}" + (": it writes a checkpoint first" if state == "stopping" else "")


def resume(database: Path, run: Run) -> str:
    """Queue a run to go on."""
    control.resume(database, run)
    return f"{run.name} is queued, to go on from where it has a checkpoint"


def retry(database: Path, run: Run) -> str:
    """Queue a run's spec once more."""
    return f"queued once more from the start: {control.retry(database, run)}"


def delete(database: Path, run: Run) -> str:
    """Delete a run."""
    remove(database, [run])
    return f"deleted {run.name}"


def export(database: Path, run: Run, what: str, out: str) -> str:
    """Write a run into files, as `peftbench export` does it, in a process of its own: some formats need torch.

    Raises:
        PeftbenchError: it could not be written.
    """
    path = str(Path(out).expanduser())
    options = ["--format", what, "--db", str(database)]
    words = [sys.executable, "-P", "-m", "peftbench", "export", *options, "--", run.id, path]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        first = next((line.strip() for line in done.stderr.splitlines() if line.strip()), "no reason given")
        raise PeftbenchError(f"not exported: {first.removeprefix('error: ')}")
    return f"{run.name}: written to {path}"


def queue_demo(database: Path) -> str:
    """Queue the runs of the demo."""
    enqueue(database, [resolve(preset) for preset in DEMO], sweep=fresh_label("demo"))
    return f"queued: {', '.join(DEMO)}; the first one starts within seconds"
