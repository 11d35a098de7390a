from __future__ import annotations

from pathlib import Path

import pytest

from peftbench.errors import MissingError
from peftbench.paths import run_folder


@pytest.mark.parametrize("run_id", ["", "..", "/", "/home/someone", "abc/../..", "abcdefghi", "ABCDEFGH"])
def test_a_run_id_from_a_foreign_database_never_leads_elsewhere(run_id: str, tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        run_folder(tmp_path / "runs.db", run_id)


def test_a_linked_database_has_one_folder(tmp_path: Path) -> None:
    (tmp_path / "real.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    assert run_folder(tmp_path / "link.db", "abcd2345") == run_folder(tmp_path / "real.db", "abcd2345")
