"""The schema, as numbered migrations, and the views that a person can query.

A migration that has been released is never changed; a new one is added after it. `user_version` is the
number of the last one, `application_id` says that a SQLite file is ours.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

APPLICATION_ID = 0x50454654  # "PEFT"
SCHEMA_VERSION = 2


def migrations() -> Migrations:
    """Return every migration, in order."""
    from sqlite_utils.migrations import Migrations

    migration = Migrations("peftbench")

    migration(name="0001_first_schema")(partial(_apply, _FIRST_SCHEMA))
    migration(name="0002_meters")(partial(_apply, _METERS))
    return migration


def _apply(statements: str, db: Database) -> None:
    for statement in statements.split(";\n\n"):
        db.execute(statement)


_FIRST_SCHEMA = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('starting', 'running', 'finished', 'failed', 'interrupted')),
    reason TEXT,
    exit_code INTEGER,
    preset TEXT NOT NULL,
    workload TEXT NOT NULL,
    method TEXT NOT NULL,
    encoder TEXT NOT NULL,
    seed INTEGER NOT NULL,
    spec_json TEXT NOT NULL CHECK (json_valid(spec_json)),
    spec_hash TEXT NOT NULL,
    group_hash TEXT NOT NULL,
    origins TEXT NOT NULL CHECK (json_valid(origins)),
    conditions TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(conditions)),
    data_hash TEXT,
    weights_total INTEGER,
    weights_trainable INTEGER,
    adapter_weights TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(adapter_weights)),
    epochs_planned INTEGER NOT NULL,
    epochs_done INTEGER NOT NULL DEFAULT 0,
    best_epoch INTEGER,
    dev_avg REAL,
    leaderboard REAL,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT,
    stop_requested_at TEXT,
    worker_pid INTEGER,
    worker_started_at REAL,
    worker_boot_id TEXT,
    worker_host TEXT,
    heartbeat_at TEXT
) STRICT;

CREATE INDEX runs_by_time ON runs (created_at);

CREATE INDEX runs_by_group ON runs (group_hash, data_hash);

CREATE TABLE epochs (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    epoch INTEGER NOT NULL,
    dev_avg REAL,
    leaderboard REAL,
    reason TEXT,
    finished_at TEXT NOT NULL,
    PRIMARY KEY (run_id, epoch)
) STRICT;

CREATE TABLE scores (
    run_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    task TEXT NOT NULL,
    split TEXT NOT NULL,
    metric TEXT NOT NULL,
    value REAL,
    reason TEXT,
    loss REAL NOT NULL,
    examples INTEGER NOT NULL,
    PRIMARY KEY (run_id, epoch, task, split),
    FOREIGN KEY (run_id, epoch) REFERENCES epochs (run_id, epoch) ON DELETE CASCADE,
    CHECK (value IS NOT NULL OR reason IS NOT NULL)
) STRICT;

CREATE TABLE task_bests (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    task TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (run_id, task)
) STRICT;

CREATE TABLE predictions (
    run_id TEXT NOT NULL,
    task TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    position INTEGER NOT NULL,
    example_id TEXT NOT NULL,
    label REAL NOT NULL,
    prediction REAL NOT NULL,
    PRIMARY KEY (run_id, task, epoch, position),
    FOREIGN KEY (run_id, epoch) REFERENCES epochs (run_id, epoch) ON DELETE CASCADE
) STRICT;

CREATE TABLE losses (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    task TEXT NOT NULL,
    steps INTEGER NOT NULL,
    loss REAL NOT NULL,
    PRIMARY KEY (run_id, step)
) STRICT;

CREATE TABLE phases (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    phase TEXT NOT NULL,
    epoch INTEGER,
    task TEXT,
    split TEXT,
    wall_s REAL NOT NULL,
    steps INTEGER,
    examples INTEGER,
    tokens INTEGER,
    step_ms_median REAL,
    step_ms_p5 REAL,
    step_ms_p95 REAL,
    peak_rss_mib REAL
) STRICT;

CREATE INDEX phases_by_run ON phases (run_id);

CREATE TABLE progress (
    run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    epoch INTEGER NOT NULL,
    phase TEXT NOT NULL,
    task TEXT,
    step INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    done INTEGER NOT NULL,
    total INTEGER NOT NULL,
    its REAL,
    at TEXT NOT NULL
) STRICT;

CREATE TABLE events (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (run_id, sequence)
) STRICT;

CREATE VIEW best_scores AS
SELECT runs.id AS run_id, runs.name, runs.preset, runs.workload, runs.method, runs.seed,
       scores.task, scores.metric, scores.value AS dev, scores.reason, train.value AS train,
       train.value - scores.value AS train_dev_gap, scores.epoch
FROM runs
JOIN scores ON scores.run_id = runs.id AND scores.epoch = runs.best_epoch AND scores.split = 'dev'
LEFT JOIN scores AS train
  ON train.run_id = runs.id AND train.epoch = scores.epoch AND train.task = scores.task AND train.split = 'train';

CREATE VIEW curves AS
SELECT runs.id AS run_id, runs.name, runs.preset, runs.workload, scores.epoch, scores.task, scores.split,
       scores.metric, scores.value, scores.loss
FROM scores JOIN runs ON runs.id = scores.run_id;

CREATE VIEW resources AS
SELECT runs.id AS run_id, runs.name, runs.preset, runs.workload, phases.task,
       sum(phases.steps) AS steps, sum(phases.wall_s) AS train_s,
       sum(phases.steps) / sum(phases.wall_s) AS its,
       sum(phases.examples) / sum(phases.wall_s) AS examples_per_s,
       sum(phases.tokens) / sum(phases.wall_s) AS tokens_per_s,
       max(phases.peak_rss_mib) AS peak_rss_mib
FROM phases JOIN runs ON runs.id = phases.run_id
WHERE phases.phase = 'train'
GROUP BY runs.id, phases.task;

CREATE VIEW groups AS
WITH seeds AS (
  SELECT group_hash, data_hash, seed, min(preset) AS preset, min(workload) AS workload, avg(dev_avg) AS dev_avg
  FROM runs WHERE state = 'finished' GROUP BY group_hash, data_hash, seed
), centred AS (
  SELECT *, dev_avg - avg(dev_avg) OVER (PARTITION BY group_hash, data_hash) AS off FROM seeds
)
SELECT group_hash, data_hash, min(preset) AS preset, min(workload) AS workload, count(*) AS seeds,
       avg(dev_avg) AS dev_avg_mean,
       CASE WHEN count(dev_avg) > 1 THEN sqrt(sum(off * off) / (count(dev_avg) - 1)) END AS dev_avg_sd
FROM centred
GROUP BY group_hash, data_hash
"""

_METERS = """
ALTER TABLE phases ADD COLUMN started_s REAL;

ALTER TABLE phases ADD COLUMN window_s REAL;

ALTER TABLE phases ADD COLUMN samples INTEGER;

ALTER TABLE phases ADD COLUMN energy_j REAL;

ALTER TABLE phases ADD COLUMN energy_integrated_j REAL;

ALTER TABLE phases ADD COLUMN counter_resets INTEGER;

ALTER TABLE phases ADD COLUMN power_w REAL;

ALTER TABLE phases ADD COLUMN power_peak_w REAL;

ALTER TABLE phases ADD COLUMN energy_so_far_j REAL;

ALTER TABLE phases ADD COLUMN peak_allocated_mib REAL;

ALTER TABLE phases ADD COLUMN peak_reserved_mib REAL;

ALTER TABLE phases ADD COLUMN device_peak_mib REAL;

ALTER TABLE phases ADD COLUMN device_delta_mib REAL;

ALTER TABLE phases ADD COLUMN process_vram_mib REAL;

ALTER TABLE phases ADD COLUMN temperature_start_c REAL;

ALTER TABLE phases ADD COLUMN temperature_end_c REAL;

ALTER TABLE phases ADD COLUMN sm_clock_mhz REAL;

ALTER TABLE phases ADD COLUMN mem_clock_mhz REAL;

ALTER TABLE phases ADD COLUMN gpu_util_pct REAL;

ALTER TABLE phases ADD COLUMN event_reasons INTEGER;

ALTER TABLE phases ADD COLUMN throttled_s REAL;

ALTER TABLE phases ADD COLUMN violation_power_s REAL;

ALTER TABLE phases ADD COLUMN violation_thermal_s REAL;

ALTER TABLE phases ADD COLUMN foreign_processes INTEGER;

ALTER TABLE phases ADD COLUMN cpu_s REAL;

ALTER TABLE phases ADD COLUMN others_cpu_s REAL;

ALTER TABLE phases ADD COLUMN cpu_energy_j REAL;

ALTER TABLE phases ADD COLUMN swap_mib REAL;

ALTER TABLE phases ADD COLUMN missing TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(missing));

ALTER TABLE runs ADD COLUMN meter_settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(meter_settings));

ALTER TABLE runs ADD COLUMN memory_predicted TEXT CHECK (memory_predicted IS NULL OR json_valid(memory_predicted));

ALTER TABLE runs ADD COLUMN memory_measured TEXT CHECK (memory_measured IS NULL OR json_valid(memory_measured));

CREATE TABLE samples (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    at_s REAL NOT NULL,
    phase TEXT,
    power_w REAL,
    power_peak_w REAL,
    energy_j REAL,
    device_used_mib REAL,
    process_vram_mib REAL,
    allocated_mib REAL,
    reserved_mib REAL,
    sm_clock_mhz REAL,
    mem_clock_mhz REAL,
    temperature_c REAL,
    gpu_util_pct REAL,
    event_reasons INTEGER,
    rss_mib REAL,
    cpu_pct REAL,
    others_cpu_pct REAL,
    PRIMARY KEY (run_id, sequence)
) STRICT;

DROP VIEW resources;

CREATE VIEW resources AS
SELECT runs.id AS run_id, runs.name, runs.preset, runs.workload, phases.task,
       sum(phases.steps) AS steps, sum(phases.wall_s) AS train_s,
       sum(phases.steps) / sum(phases.wall_s) AS its,
       sum(phases.examples) / sum(phases.wall_s) AS examples_per_s,
       sum(phases.tokens) / sum(phases.wall_s) AS tokens_per_s,
       max(phases.peak_rss_mib) AS peak_rss_mib,
       max(phases.device_delta_mib) AS device_delta_mib,
       max(phases.process_vram_mib) AS process_vram_mib,
       max(phases.peak_allocated_mib) AS peak_allocated_mib,
       max(phases.peak_reserved_mib) AS peak_reserved_mib,
       sum(phases.power_w * phases.window_s) / sum(iif(phases.power_w IS NULL, NULL, phases.window_s)) AS power_w,
       CASE WHEN count(phases.energy_j) = count(*) THEN sum(phases.energy_j) END AS energy_j,
       CASE WHEN count(phases.energy_integrated_j) = count(*) THEN sum(phases.energy_integrated_j) END
         AS energy_integrated_j
FROM phases JOIN runs ON runs.id = phases.run_id
WHERE phases.phase = 'train'
GROUP BY runs.id, phases.task
"""
