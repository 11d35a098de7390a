"""Run the command line in the test process: a subprocess takes seconds to import torch and transformers."""

from __future__ import annotations

import io
import subprocess
from contextlib import redirect_stderr

from typer.testing import CliRunner, Result

from peftbench.cli import app
from peftbench.cli.output import print_error
from peftbench.errors import PeftbenchError


def inside(*arguments: object, stdin: str | None = None, columns: int = 80) -> subprocess.CompletedProcess[str]:
    """Return the output and exit code of a command."""
    words = [str(word) for word in arguments]
    result = CliRunner().invoke(app, words, input=stdin, env={"COLUMNS": str(columns)})
    code, errors = result.exit_code, result.stderr
    if isinstance(result.exception, PeftbenchError):
        code = result.exception.exit_code
        with redirect_stderr(io.StringIO()) as told:
            print_error(result.exception)
        errors += told.getvalue()
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(words, code, result.stdout, errors)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "100"})


def failed(*arguments: object) -> tuple[int, str]:
    """Run a command that ends in an error and return its exit code and message."""
    done = invoke(*arguments)
    assert done.exception is not None, done.output
    return getattr(done.exception, "exit_code", -1), str(done.exception)
