"""The light side stays light: no listing, comparison or help ever loads torch and its like."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "datasets", "matplotlib", "scipy", "pandas", "pyarrow")

SCRIPT = """
import sys
sys.argv = ["peftbench", *{arguments!r}]
try:
    import peftbench.cli
    peftbench.cli.main()
except SystemExit:
    pass
loaded = [name for name in {heavy!r} if name in sys.modules]
print("LOADED", *loaded)
"""


def loaded_by(*arguments: str) -> list[str]:
    script = SCRIPT.format(arguments=list(arguments), heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("LOADED")[-1].split()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        (),
        ("runs",),
        ("show",),
        ("watch",),
        ("presets",),
        ("methods",),
        ("workloads", "paper"),
        ("sweeps",),
        ("sweep", "study", "--dry-run"),
        ("compare", "a", "b"),
        ("report", "study"),
        ("plot", "curves", "--out", "x.svg"),
        ("export", "a", "out", "--format", "peft"),
        ("import", "none.zip"),
        ("estimate", "--help"),
        ("estimate", "--preset", "nothing"),
        ("run", "--preset", "dora-r12", "--workload", "paper"),
    ],
)
def test_a_light_command_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert loaded_by(*arguments) == []


def test_the_help_needs_neither_pydantic_nor_numpy() -> None:
    script = "import sys, peftbench.cli; print([m for m in ('pydantic', 'numpy', 'sqlite_utils') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_python_door_is_light_until_it_is_used() -> None:
    script = f"import sys, peftbench; print([m for m in {(*HEAVY, 'pydantic', 'typer')!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_command_is_built_alone_and_all_of_them_for_the_help() -> None:
    script = (
        "import sys\nfrom peftbench.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted(name for name in sys.modules if name in ('peftbench.cli.doctor', 'peftbench.cli.runs')))"
    )
    loaded = {}
    for word, *more in (("show", "-h"), ("-h",), ("shwo",)):
        done = subprocess.run([sys.executable, "-c", script, word, *more], capture_output=True, text=True, check=True)
        loaded[word] = done.stdout.splitlines()[-1]
    both = "['peftbench.cli.doctor', 'peftbench.cli.runs']"
    assert loaded == {"show": "['peftbench.cli.runs']", "-h": both, "shwo": both}


def test_every_command_is_in_the_whole_command_line() -> None:
    from peftbench.cli import COMMANDS, app

    groups = [group.name for group in app.registered_groups]
    assert {*groups, *(command.name for command in app.registered_commands)} == set(COMMANDS)
