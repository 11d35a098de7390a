"""Files of the source that a page names are there, and so are functions and classes named behind them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from peftbench.version import __version__

ROOT = Path(__file__).parents[2]
ROOT_PAGES = [path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"]  # that one names what was
PAGES = sorted([*ROOT_PAGES, *(ROOT / "docs").rglob("*.md")])
NAMED = re.compile(r"`((?:peftbench|presets|benchmarks|tests|docs)/[\w./-]*)`(?:, `([\w.]+)`)?")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(path: Path) -> None:
    for name, definition in NAMED.findall(path.read_text("utf-8")):
        assert (ROOT / name).exists(), f"{path.relative_to(ROOT)} names {name}"
        if definition and name.endswith(".py"):
            source = (ROOT / name).read_text("utf-8")
            for part in definition.split("."):
                assert re.search(rf"^\s*(?:def|class) {part}\b", source, re.MULTILINE), f"{definition} in {name}"


def test_every_package_is_in_the_table_of_packages() -> None:
    table = (ROOT / "ARCHITECTURE.md").read_text("utf-8").partition("## Packages")[2].partition("## Decisions")[0]
    named = {name for row in re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)", row)}
    packages = [path for path in (ROOT / "peftbench").iterdir() if not path.name.startswith(("_", "."))]
    assert {path.stem for path in packages if path.is_dir() or path.suffix == ".py"} == named


def test_the_citation_is_of_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
