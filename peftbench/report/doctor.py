"""Findings of the doctor on 80 columns; each line starts with the state as a word, not only as a colour."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from rich.text import Text

from peftbench.doctor.findings import STATES, Finding, State, counts

WIDTH = 80
_STATE, _NAME = 5, 18  # widths of columns
_STYLE: dict[State, str] = {"ok": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


def line(finding: Finding) -> Text:
    """Return a finding as text, wrapped under its detail, with the remedy on separate lines."""
    indent = _STATE + _NAME
    detail = _wrapped(finding.detail, indent)
    text = Text.assemble(
        (f"{finding.state:<{_STATE}}", _STYLE[finding.state]),
        f"{finding.check:<{_NAME}}" if len(finding.check) < _NAME else f"{finding.check}\n{' ' * indent}",
        detail,
    )
    if finding.remedy:
        text.append(f"\n{' ' * indent}")
        text.append(_wrapped(f"-> {finding.remedy}", indent, "   "), style="bold")
    return text


def summary(findings: Iterable[Finding]) -> Text:
    """Return the last line: number of findings in each state."""
    numbers = counts(findings)
    parts = [(f"{numbers[state]} {state}", _STYLE[state] if numbers[state] else "dim") for state in STATES]
    joined = Text(", ").join(Text(words, style=style) for words, style in parts)
    return Text.assemble("\n", joined)


def _wrapped(text: str, indent: int, hanging: str = "") -> str:
    """Wrap a text with an indent; long words, such as commands and paths, are not broken and may overflow."""
    lines = textwrap.wrap(
        text, WIDTH - indent, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )
    return f"\n{' ' * indent}".join(lines)
