"""Import checks beyond the bundle: weights against the run's record; and imports of runs of early versions."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from peftbench.errors import DataError, StorageError
from peftbench.interchange.importing import take_bundle
from peftbench.paths import run_folder
from peftbench.spec import Resolved, resolve
from peftbench.spec.stored import hashes, stored_spec
from tests.interchange.runs import Forger, bundle_of, stored_run
from tests.tiny import tiny_overrides


@pytest.fixture(scope="module")
def resolved() -> Resolved:
    return resolve("lora-r12", overrides=tiny_overrides(Path("/nowhere")))


@pytest.fixture
def bundle(resolved: Resolved, tmp_path: Path) -> Path:
    database = tmp_path / "origin.db"
    return bundle_of(database, stored_run(database, resolved), tmp_path / "run.zip")


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weights/epoch-1.safetensors": b"x" * 3_000_000}, "does not belong to a best epoch"),
        ({"weights/epoch-2.safetensors": b"x" * 3_000_000}, "bytes; the run's can have at most"),
        ({"weights/epoch-2.safetensors": b"x"}, "differs from what the run wrote"),
    ],
)
def test_weights_are_held_against_the_runs_record_also_of_a_run_that_is_known(
    known: bool, changed: dict[str, bytes], said: str, resolved: Resolved, tmp_path: Path
) -> None:
    """A file that an existing run lacks is restored: it must belong to the run."""
    source, target = tmp_path / "source.db", tmp_path / "target.db"
    run_id = stored_run(source, resolved)
    content = (run_folder(source, run_id) / "epoch-2.safetensors").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    with closing(sqlite3.connect(source)) as connection, connection:
        row = connection.execute("SELECT conditions FROM runs").fetchone()
        weights = {"weights_sha256": {"epoch-2.safetensors": sha256} if "differs" in said else {}}
        connection.execute("UPDATE runs SET conditions = ?", (json.dumps(json.loads(row[0]) | weights),))
    bundle = bundle_of(source, run_id, tmp_path / "own.zip")
    if known:
        take_bundle(bundle, target)
        (run_folder(target, run_id) / "epoch-2.safetensors").unlink()
    forged = Forger(bundle, tmp_path).files(changed)
    with pytest.raises(DataError, match=said):
        take_bundle(forged, target)
    assert not list(run_folder(target, run_id).glob("epoch-[12].safetensors"))
    assert "epoch-2.safetensors" in take_bundle(bundle, target).weights


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSPC, "free disk space"), (errno.EACCES, "permissions"), (errno.EROFS, "read-only")]
)
def test_a_folder_that_cannot_be_written_has_its_reason(
    number: int, hint: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("peftbench.interchange.importing.write_whole", cannot)
    with pytest.raises(StorageError) as caught:
        take_bundle(bundle, tmp_path / "other.db")
    assert hint in (caught.value.hint or "")


# Specs as stored by the first version with a command line (2026-11-24), with their hashes.
EARLY = {
    "last-layer": (
        '{"name":"last-layer"}',
        "3421bbadfc1e2526b1c58ac380f24ba488b88e8e28a2e092adbbeb863037cf81",
        "61cff311626902d8f56d0bfe4bc957a327b1e822167197c22c19e78f463d7c48",
    ),
    "lora-r12": (
        '{"alpha":12.0,"dropout":0.0,"name":"lora","rank":12,"targets":["query","key","value"]}',
        "dc82b1eff647589769632f8e9b25f8a5095a9e1e990871f5178688e081b94e7a",
        "742ad9e5e1802666a4bca737add2c3b8043fd36d6ef912f87e5672af69abc1af",
    ),
}


def early_spec(preset: str) -> str:
    specs = json.loads(Path(__file__).with_name("early_specs.json").read_text())
    assert json.loads(specs[preset])["method"] == json.loads(EARLY[preset][0])
    return specs[preset]


@pytest.mark.parametrize("preset", EARLY)
def test_an_early_versions_run_is_taken_and_its_weights_fit(preset: str, tmp_path: Path) -> None:
    """Settings added later are in today's hash, but not in the stored one."""
    spec_json, (_, spec_hash, group_hash) = early_spec(preset), EARLY[preset]
    spec = stored_spec(spec_json)
    assert (spec_hash, group_hash) in hashes(spec)
    assert spec_hash != spec.hash()
    assert spec.encoder.token_types is False, "it marked no second text"
    database = tmp_path / "early.db"
    resolved = SimpleNamespace(spec=Stored(spec_json, spec_hash, group_hash), origins={})
    run_id = stored_run(database, resolved, "early-1")  # type: ignore[arg-type]
    taken = take_bundle(bundle_of(database, run_id, tmp_path / "early.zip"), tmp_path / "new.db")
    assert (taken.name, taken.known) == ("early-1", False)
    assert len(taken.weights) == 2


@dataclass
class Stored:
    """A spec as stored by an earlier version."""

    json: str
    spec_hash: str
    of_group: str

    def canonical_json(self) -> str:
        return self.json

    def hash(self) -> str:
        return self.spec_hash

    def group_hash(self) -> str:
        return self.of_group


@pytest.mark.parametrize(
    "changed",
    [{"train": {"prefix_cache": False}}, {"precision": "autocast"}, {"encoder": {"token_types": True}}],
)
def test_a_spec_that_no_early_version_knew_has_none_of_its_hashes(changed: dict[str, Any]) -> None:
    tree = json.loads(early_spec("lora-r12"))
    for key, value in changed.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
    assert EARLY["lora-r12"][1] not in {own for own, _ in hashes(stored_spec(json.dumps(tree)))}
