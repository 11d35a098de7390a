"""What the doctor found, in 80 columns: the state's word first, so that nothing hangs on its colour."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from rich.text import Text

from peftbench.doctor.findings import STATES, Finding, State, counts

WIDTH = 80
_STATE, _NAME = 5, 18  # columns
_STYLE: dict[State, str] = {"ok": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


def line(finding: Finding) -> Text:
    """Return a finding as a line, folded under its detail, with the remedy on lines of its own."""
    indent = _STATE + _NAME
    detail = _folded(finding.detail, indent)
    text = Text.assemble(
        (f"{finding.state:<{_STATE}}", _STYLE[finding.state]),
        f"{finding.check:<{_NAME}}" if len(finding.check) < _NAME else f"{finding.check}\n{' ' * indent}",
        detail,
    )
    if finding.remedy:
        text.append(f"\n{' ' * indent}")
        text.append(_folded(f"-> {finding.remedy}", indent, "   "), style="bold")
    return text


def summary(findings: Iterable[Finding]) -> Text:
    """Return the last line: how many of each."""
    numbers = counts(findings)
    parts = [(f"{numbers[state]} {state}", _STYLE[state] if numbers[state] else "dim") for state in STATES]
    joined = Text(", ").join(Text(words, style=style) for words, style in parts)
    return Text.assemble("\n", joined)


def _folded(text: str, indent: int, hanging: str = "") -> str:
    """Fold a text under a column; long words, such as commands and paths, stay whole and may stick out."""
    lines = textwrap.wrap(
        text, WIDTH - indent, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )
    return f"\n{' ' * indent}".join(lines)
