"""What a worker finds as its user had it, and what is not kept."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from peftbench.errors import MissingError
from peftbench.jobs.surroundings import keep, kept


def test_variables_that_change_a_run_are_kept_and_secrets_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HOME", "/models/\udcff")
    monkeypatch.setenv("EDITOR", "vi")
    keep(tmp_path)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = kept(tmp_path)
    assert (found.python, found.folder) == (sys.executable, str(Path.cwd()))
    assert found.variables["OMP_NUM_THREADS"] == "3"
    assert found.variables["HF_HOME"] == "/models/\udcff"
    assert "HF_TOKEN" not in found.variables
    assert "EDITOR" not in found.variables


def test_a_worker_has_the_kept_kinds_as_they_were_and_the_rest_of_its_starter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    keep(tmp_path)
    starter = {"CUDA_VISIBLE_DEVICES": "5", "OMP_NUM_THREADS": "9", "HF_TOKEN": "of the starter", "PATH": "/bin"}
    found = kept(tmp_path).environment(starter)
    assert "CUDA_VISIBLE_DEVICES" not in found
    assert (found["OMP_NUM_THREADS"], found["HF_TOKEN"], found["PATH"]) == ("1", "of the starter", "/bin")


@pytest.mark.parametrize("content", [None, "", "[]", '{"python": "x"}', '{"python": 1, "folder": 2, "variables": 3}'])
def test_what_cannot_be_read_is_an_error(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "surroundings.json").write_text(content)
    with pytest.raises(MissingError, match="cannot be read"):
        kept(tmp_path)
    if content is None:
        (tmp_path / "surroundings.json").write_text(json.dumps({"python": "p", "folder": "f", "variables": {}}))
        assert kept(tmp_path).python == "p"


def test_the_device_that_was_asked_for_stays_when_the_run_is_queued_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    for device in ("GPU-aaaa", ""):
        keep(tmp_path, device)
        assert kept(tmp_path).variables["CUDA_VISIBLE_DEVICES"] == device
        keep(tmp_path)  # resumed, from wherever
        assert kept(tmp_path).variables["CUDA_VISIBLE_DEVICES"] == device


def test_no_device_leaves_the_choice_to_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    keep(tmp_path)
    keep(tmp_path)
    assert kept(tmp_path).variables["CUDA_VISIBLE_DEVICES"] == "1"
