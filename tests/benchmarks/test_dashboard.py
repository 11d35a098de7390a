"""The dashboard's benchmark drives the app as it is, and counts what that sends to its terminal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.dashboard import _template, redraws
from benchmarks.dashboard_traffic import Session, lines

pytestmark = pytest.mark.slow


def test_a_redraw_costs_time_and_bytes(tmp_path: Path) -> None:
    cost = asyncio.run(redraws(_template(tmp_path / "one.db"), 1, 4, 6))
    assert 0 < cost["cpu_ms"] <= cost["worst_ms"]
    assert cost["kb"] > 0


def test_a_session_counts_what_it_is_sent(tmp_path: Path) -> None:
    session = Session(tmp_path / "runs.db")
    try:
        session.wait_for(b"No runs yet")
        before = session.sent
        session.write("?")
        session.wait_for(b"Esc closes")
        assert session.sent > before
    finally:
        session.close()


def test_each_state_has_a_line_with_its_figures() -> None:
    (line,) = lines({"idle": {"kb_per_s": 0.25, "core_pct": 0.5}})
    assert " ".join(line.split()) == "idle 0.25 KB/s to the terminal 0.50 % of a core"
