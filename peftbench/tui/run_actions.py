"""Actions on runs from the dashboard: the functions of the commands, returning a message for the user."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from peftbench.errors import PeftbenchError, RefusedError
from peftbench.jobs import control, tagging
from peftbench.jobs.queue import enqueue, fresh_label
from peftbench.jobs.removal import remove
from peftbench.spec.resolve import Resolved, resolve
from peftbench.store.rows import Run, RunSettings

DEMO = ("last-layer", "full", "lora-r12", "dora-r12")


class RunActions:
    """The only interface through which screens change runs or write files.

    Args:
        database: path of the database.
        refused: why this dashboard may change nothing; empty if it may.
    """

    def __init__(self, database: Path, refused: str = "") -> None:
        self._database, self._refused = database, refused

    def check(self) -> None:
        """Check that actions are allowed.

        Raises:
            RefusedError: they are not.
        """
        if self._refused:
            raise RefusedError(f"{self._refused}: runs cannot be started, stopped, deleted or exported here")

    def stop(self, run: Run) -> str:
        """Stop a queued run, or request a running one to stop."""
        self.check()
        state = control.stop(self._database, run)
        if state is None:
            return f"{run.name} has already ended"
        return f"{run.name} is {state}" + (": it writes a checkpoint first" if state == "stopping" else "")

    def resume(self, run: Run) -> str:
        """Queue a run to be resumed."""
        self.check()
        control.resume(self._database, run)
        return f"{run.name} is queued and resumes from its last checkpoint"

    def retry(self, run: Run) -> str:
        """Queue a run's spec again."""
        self.check()
        return f"queued again from the start: {control.retry(self._database, run)}"

    def tag(self, run: Run, tags: Sequence[str]) -> str:
        """Set a run's tags."""
        self.check()
        tagging.tag(self._database, [run], [tag for tag in run.tags if tag not in tags], remove=True)
        now = tagging.tag(self._database, [run], tags)[run.id]
        return f"{run.name}: {', '.join(now) or 'no tags'}"

    def delete(self, run: Run) -> str:
        """Delete a run."""
        self.check()
        return "; ".join([f"deleted {run.name}", *remove(self._database, [run])])

    def export(self, run: Run, what: str, out: str) -> str:
        """Export a run with `peftbench export` in a subprocess: some formats need torch.

        Raises:
            PeftbenchError: the export failed.
        """
        self.check()
        path = str(Path(out).expanduser())
        options = ["--format", what, "--db", str(self._database)]
        words = [sys.executable, "-P", "-m", "peftbench", "export", *options, "--", run.id, path]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        if done.returncode:
            first = next((line.strip() for line in done.stderr.splitlines() if line.strip()), "unknown error")
            raise PeftbenchError(f"export failed: {first.removeprefix('error: ')}")
        return f"{run.name}: written to {path}"

    def queue(self, runs: list[Resolved], device: str | None) -> list[str]:
        """Queue runs, several under a common sweep label; return their ids."""
        self.check()
        label = fresh_label(runs[0].spec.preset) if len(runs) > 1 else None
        return enqueue(self._database, runs, sweep=label, settings=RunSettings(), device=device)

    def queue_demo(self) -> str:
        """Queue the demo runs."""
        self.check()
        enqueue(self._database, demo_runs(), sweep=fresh_label("demo"))
        return f"queued: {', '.join(DEMO)}; the first one starts within seconds"


def demo_runs() -> list[Resolved]:
    """Return the runs of the demo."""
    return [resolve(preset) for preset in DEMO]
