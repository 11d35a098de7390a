from __future__ import annotations

from pathlib import Path

import pytest

import peftbench
from peftbench.errors import UsageError
from peftbench.store.rows import MeterSettings
from tests.tiny import tiny_overrides


@pytest.mark.slow
def test_the_python_door_runs_compares_and_opens(tiny_encoder: Path, tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    overrides = [*tiny_overrides(tiny_encoder), "train.epochs=1"]
    often = MeterSettings(period_ms=200)
    records = [
        peftbench.run(preset, overrides=overrides, database=db, meter_settings=often)
        for preset in ("last-layer", "lora-r12")
    ]
    assert [record.run.state for record in records] == ["finished", "finished"]
    result = peftbench.compare(records)
    assert {d.key for d in result.confounding} <= {"busy_machine"}
    assert records[0].run.conditions["sampler"]["period_ms"] == 200
    with peftbench.open_store(db) as store:
        assert store.find("latest").id == records[1].run.id


def test_a_wrong_spec_raises_and_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown preset"):
        peftbench.run("no-such-preset", database=tmp_path / "runs.db")
    assert not (tmp_path / "runs.db").exists()
