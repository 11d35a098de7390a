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
