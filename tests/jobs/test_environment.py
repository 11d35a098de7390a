"""Which parts of the user's environment a worker gets, and which are not stored."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from peftbench.errors import MissingError
from peftbench.jobs.environment import keep, kept


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


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "HF_TOKENS", "HF_APIKEY", "HF_API_KEY", "HF_APIKEYS", "HF_PASS", "HF_PASSWD", "HF_PASSWORD"),
        *("HF_DBPASSWD", "HF_CREDENTIALS", "HF_CRED", "HF_AUTH", "HF_AUTHTOKEN", "TORCH_SECRETS", "CONDA_PAT"),
        *("XDG_PASSPHRASE", "hf_token", "HF_BEARER", "HF_COOKIE"),
    ],
)
def test_names_of_secrets_are_not_kept(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "sesame")
    keep(tmp_path)
    assert name not in kept(tmp_path).variables
    assert "sesame" not in (tmp_path / "surroundings.json").read_text()


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM", "OMP_PASSIVE"])
def test_names_that_only_resemble_secrets_are_kept(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    keep(tmp_path)
    assert kept(tmp_path).variables[name] == "1"


@pytest.mark.parametrize(
    ("value", "is_kept"),
    [
        ("https://user:sesame@hub.example/models", False),
        ("http://sesame@hub.example", False),
        ("HTTPS://user:sesame@hub.example:8080/", False),
        ("https://hub.example/models?token=sesame", False),
        ("https://hub.example/?a=1&api_key=sesame", False),
        ("https://hub.example/blob?sv=2022&sig=sesame", False),
        ("https://hub.example/models", True),
        ("https://hub.example:8080/a@b", True),
        ("https://hub.example/?page=2", True),
        ("/models/key=3", True),
    ],
)
def test_credentials_in_an_address_are_not_kept(
    value: str, is_kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", value)
    keep(tmp_path)
    assert ("HF_ENDPOINT" in kept(tmp_path).variables) == is_kept
    assert "sesame" not in (tmp_path / "surroundings.json").read_text()


def test_a_worker_gets_kept_variables_and_others_from_its_starter(
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
        keep(tmp_path)  # resumed, from any folder
        assert kept(tmp_path).variables["CUDA_VISIBLE_DEVICES"] == device


def test_no_device_leaves_the_choice_to_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    keep(tmp_path)
    keep(tmp_path)
    assert kept(tmp_path).variables["CUDA_VISIBLE_DEVICES"] == "1"
