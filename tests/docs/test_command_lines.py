"""Every command line that the documentation shows is one that the program knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.command_lines import mistake, shown

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_line_parses(path: Path) -> None:
    mistakes = [
        f"{path.relative_to(ROOT)}:{line.line}: {line.text}\n    {wrong}"
        for line in shown(path.read_text("utf-8"))
        if (wrong := mistake(line.text)) is not None
    ]
    assert not mistakes, "\n".join(mistakes)


@pytest.mark.parametrize(
    ("page", "wrong"),
    [
        ("    peftbench comparee a b", "no command 'peftbench comparee'"),
        ("text `peftbench report claims` text", "no command 'peftbench report claims'"),
        ("```\n$ peftbench show RUN --phase  # each\n```", "peftbench show: No such option: --phase"),
        ("    peftbench run --preset a \\\n      --sed 3", "peftbench run: No such option: --sed"),
        ("see `peftbench\n--them x`", "peftbench: No such option: --them"),
        ("    peftbench compare A B --metric", "peftbench compare: Option '--metric' requires an argument."),
    ],
)
def test_what_the_program_does_not_know_is_found(page: str, wrong: str) -> None:
    (line,) = shown(page)
    assert (mistake(line.text) or "").startswith(wrong)


@pytest.mark.parametrize(
    "page",
    [
        "    peftbench [--db FILE] [--theme NAME]",
        "    $ peftbench watch [RUN] [--plain] | head -n 3",
        "    peftbench show --json --db x.db > out.json",
        "    peftbench run -p 'a b' --set 'method.targets=[\"query\"]' --set train.epochs=2   # [a] comment's",
        "`peftbench`",
    ],
)
def test_what_the_program_knows_passes(page: str) -> None:
    (line,) = shown(page)
    assert mistake(line.text) is None
