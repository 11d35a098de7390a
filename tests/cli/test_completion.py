"""Shell completion: what bash asks the program while a command line is typed, and what it answers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from peftbench.cli import COMMANDS

# A shell starts the installed script by its name, which the variables of the protocol are named after.
AS_INSTALLED = "import sys; sys.argv[0] = 'peftbench'; from peftbench.cli import main; main()"


def started(*words: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", AS_INSTALLED, *words],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def completed(line: str) -> list[str]:
    """Return what bash is offered for the last word of a line."""
    last = str(len(line.split(" ")) - 1)
    return started(_PEFTBENCH_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=last).splitlines()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("peftbench comp", ["compare"]),
        ("peftbench compare --met", ["--metric"]),
        ("peftbench report st", ["study"]),
        ("peftbench --read", ["--read-only"]),
    ],
)
def test_bash_is_offered_what_a_word_can_become(line: str, offered: list[str]) -> None:
    assert completed(line) == offered


def test_every_command_is_offered_for_an_empty_word() -> None:
    assert set(completed("peftbench ")) == set(COMMANDS)


UNDETECTED = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # the shell is named, not looked for


@pytest.mark.parametrize(
    ("words", "variables"), [((), {"_PEFTBENCH_COMPLETE": "source_bash"}), (("--show-completion", "bash"), UNDETECTED)]
)
def test_the_script_for_bash_asks_the_program(words: tuple[str, ...], variables: dict[str, str]) -> None:
    script = started(*words, **variables)
    assert "_PEFTBENCH_COMPLETE=complete_bash" in script
    assert "complete -o default -F _peftbench_completion peftbench" in script
