"""The help: commands by panel, an example of each."""

from __future__ import annotations

import pytest

from peftbench.cli import COMMANDS, PANELS
from tests.cli.inside import invoke


def test_every_panel_is_shown_with_its_commands_and_an_example() -> None:
    lines = invoke("--help").output.splitlines()
    titles = [lines.index(f"{title}:") for title in PANELS]
    assert titles == sorted(titles)
    for (title, (example, names)), start in zip(PANELS.items(), titles, strict=True):
        end = lines.index("", start) if "" in lines[start:] else len(lines)
        shown = [line.split()[0] for line in lines[start + 1 : end] if line.startswith("  ") and line[2] != " "]
        assert shown == [*names, "Example:"], title
        assert f"  Example: {example}" in lines[start:end]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "report"])
def test_every_command_has_an_example_of_its_own(name: str) -> None:
    assert f"Example: peftbench {name}" in invoke(name, "--help").output


def test_no_sentence_of_the_list_is_cut_off() -> None:
    panels = invoke("--help").output.partition("Run:\n")[2]
    assert "..." not in panels
