"""A run whose encoder has changed: every command refuses it, and it is restarted only on request."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from peftbench.cli import app
from peftbench.errors import ChangedError, PeftbenchError
from tests.tiny import another_checkpoint, sets
from tests.worked import worked_here


@pytest.mark.slow
def test_every_door_refuses_another_encoder_until_the_run_is_begun_again(tiny_encoder: Path, tmp_path: Path) -> None:
    encoder, db = Path(shutil.copytree(tiny_encoder, tmp_path / "encoder")), tmp_path / "runs.db"

    def peftbench(*words: object) -> Result:
        result = CliRunner().invoke(app, [*map(str, words), "--db", str(db)])
        if result.exception is not None and not isinstance(result.exception, (SystemExit, PeftbenchError)):
            raise result.exception  # a defect, with its traceback
        return result

    def predicted(*words: object) -> Result:
        return peftbench("predict", "latest", "--task", "sst", "A plain sentence.", *words)

    with worked_here():
        done = peftbench("run", "-p", "last-layer", "--headless", *sets(encoder, "train.epochs=1"))
    assert done.exit_code == 0, done.output
    assert predicted().exit_code == 0
    assert peftbench("export", "latest", tmp_path / "run.zip", "--format", "bundle").exit_code == 0
    another_checkpoint(encoder)
    for refused in (predicted(), peftbench("export", "latest", tmp_path / "out", "--format", "merged")):
        assert isinstance(refused.exception, ChangedError) and refused.exception.exit_code == 4
        assert f"the weights of encoder {encoder} changed since: SHA-256 " in refused.exception.message
        assert "--anyway" in (refused.exception.hint or "")
    assert not (tmp_path / "out").exists()
    warned = predicted("--anyway")
    assert warned.exit_code == 0 and "warning: run last-layer-1: the weights of encoder" in warned.output
    imported = CliRunner().invoke(app, ["import", str(tmp_path / "run.zip"), "--db", str(tmp_path / "other.db")])
    assert "predict and export will refuse it: run last-layer-1: the weights of encoder" in imported.output

    with sqlite3.connect(db) as connection:  # state after a worker was killed before the last epoch
        connection.execute("UPDATE runs SET state = 'stopped', finished_at = NULL, exit_code = 130")
    with worked_here():  # no runner of its own, which would take the next run, too
        resumed = peftbench("resume", "latest")
    assert isinstance(resumed.exception, PeftbenchError) and resumed.exception.exit_code == 4
    assert "changed since" in resumed.exception.message
    with worked_here():
        again = peftbench("resume", "latest", "--anyway")
    assert again.exit_code == 0, again.output
    assert predicted().exit_code == 0
