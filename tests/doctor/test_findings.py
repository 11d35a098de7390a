"""Findings: sanitised text, exceptions in checks, the order of groups, the output, and import time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from peftbench.doctor import Check, Finding, Options, checked, counts, examine
from peftbench.doctor.findings import fail, ok, skip, warn
from peftbench.doctor.groups import GROUPS, examined
from peftbench.errors import MissingError
from peftbench.report import doctor

OPTIONS = Options(Path("none.db"))


def test_text_from_outside_is_clean_and_short_in_every_finding() -> None:
    nasty = "a\x1b[31mred\nline\u202e" + "x" * 900
    for finding in (ok("c", nasty), skip("c", nasty), warn("c", nasty, nasty), fail("c", nasty, nasty)):
        for text in (finding.detail, finding.remedy or finding.detail):
            assert text.startswith("ared line")
            assert len(text) == 400
            assert text.isprintable()


def test_a_check_that_raises_is_a_failed_one_with_what_was_raised() -> None:
    def defect() -> Finding:
        raise ZeroDivisionError("seven\x1b[2J over nothing")

    def known() -> Finding:
        raise MissingError("the thing is not there", "fetch it")

    found = checked(Check("odd", defect))
    assert (found.check, found.state) == ("odd", "fail")
    assert found.detail == "the check itself failed with ZeroDivisionError: seven over nothing"
    assert found.remedy is not None
    assert checked(Check("known", known)) == Finding("known", "fail", "the thing is not there", "fetch it")


def test_a_group_that_cannot_begin_is_one_line_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(options: Options) -> list[Check]:
        raise OSError("no bus")

    groups = {"first": broken, "second": lambda options: [Check("b", lambda: ok("b", "fine"))]}
    monkeypatch.setattr("peftbench.doctor.groups.GROUPS", groups)
    found = list(examine(OPTIONS))
    assert [(finding.check, finding.state) for finding in found] == [("first", "fail"), ("b", "ok")]
    assert "OSError: no bus" in found[0].detail


def test_interrupting_is_not_caught() -> None:
    def interrupted() -> Finding:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checked(Check("x", interrupted))


def test_the_groups_stand_in_a_stable_order() -> None:
    assert list(GROUPS) == ["machine", "gpu", "sensors", "storage", "network"]
    names = [finding.check for finding in examined("storage", GROUPS["storage"], OPTIONS)]
    assert names == ["database folder", "file system", "disk", "database", "cache folder"]


def test_counts_name_every_state() -> None:
    assert counts([ok("a", ""), fail("b", "", ""), ok("c", "")]) == {"ok": 2, "warn": 0, "fail": 1, "skip": 0}


def test_a_line_begins_with_its_state_and_fits_80_columns() -> None:
    long = "word " * 40
    lines = doctor.line(warn("a check", long, long)).plain.splitlines()
    assert lines[0].startswith("warn a check           word")
    assert all(len(line) <= 80 for line in lines)
    assert [line for line in lines if "->" in line] == [line for line in lines if line.lstrip().startswith("->")]
    assert "->" not in doctor.line(ok("a check", "x")).plain
    assert doctor.summary([ok("a", "")]).plain == "\n1 ok, 0 warn, 0 fail, 0 skip"


def test_the_doctor_is_light_until_it_looks() -> None:
    heavy = ("torch", "transformers", "datasets", "numpy", "pynvml", "huggingface_hub", "sqlite_utils")
    script = f"import sys, peftbench.doctor; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
