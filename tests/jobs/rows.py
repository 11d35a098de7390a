"""Runs as rows, for tests that need no store."""

from __future__ import annotations

from typing import Any

from peftbench.store.rows import Run, now


def run(run_id: str, **changed: Any) -> Run:
    values: dict[str, Any] = {
        "id": run_id,
        "name": f"lora-{run_id}",
        "state": "queued",
        "preset": "lora-r12",
        "workload": "quickstart",
        "method": "lora",
        "encoder": "tiny",
        "seed": 0,
        "spec_json": "{}",
        "spec_hash": "s",
        "group_hash": "g",
        "origins": {},
        "conditions": {},
        "adapter_weights": {},
        "epochs_planned": 1,
        "epochs_done": 0,
        "created_at": now(),
        "state_at": now(),
    }
    missing = (
        "reason exit_code data_hash weights_total weights_trainable best_epoch dev_avg leaderboard started_at "
        "finished_at worker"
    )
    return Run(**{**dict.fromkeys(missing.split()), **values, **changed})
