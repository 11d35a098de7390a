DROP VIEW best_scores;

DROP VIEW curves;

DROP VIEW resources;

DROP VIEW groups;

CREATE TABLE runs_of_0003 (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN (
        'queued', 'starting', 'running', 'stalled', 'stopping', 'stopped', 'finished', 'failed', 'lost'
    )),
    state_at TEXT NOT NULL,
    reason TEXT,
    failure TEXT CHECK (failure IN (
        'out-of-memory', 'data', 'missing', 'nan', 'spec', 'signal', 'lost-host', 'storage', 'defect'
    )),
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
    meter_settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(meter_settings)),
    settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(settings)),
    data_hash TEXT,
    weights_total INTEGER,
    weights_trainable INTEGER,
    adapter_weights TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(adapter_weights)),
    memory_predicted TEXT CHECK (memory_predicted IS NULL OR json_valid(memory_predicted)),
    memory_measured TEXT CHECK (memory_measured IS NULL OR json_valid(memory_measured)),
    epochs_planned INTEGER NOT NULL,
    epochs_done INTEGER NOT NULL DEFAULT 0,
    best_epoch INTEGER,
    dev_avg REAL,
    leaderboard REAL,
    sweep TEXT,
    place INTEGER,
    session INTEGER NOT NULL DEFAULT 0,
    resumed INTEGER NOT NULL DEFAULT 0,
    device TEXT,
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

INSERT INTO runs_of_0003 (
    id, name, state, state_at, reason, exit_code, preset, workload, method, encoder, seed, spec_json, spec_hash,
    group_hash, origins, conditions, meter_settings, data_hash, weights_total, weights_trainable, adapter_weights,
    memory_predicted, memory_measured, epochs_planned, epochs_done, best_epoch, dev_avg, leaderboard, session,
    created_at, started_at, finished_at, stop_requested_at, worker_pid, worker_started_at, worker_boot_id,
    worker_host, heartbeat_at
)
SELECT
    id, name, iif(state = 'interrupted', 'stopped', state), coalesce(finished_at, started_at, created_at), reason,
    exit_code, preset, workload, method, encoder, seed, spec_json, spec_hash, group_hash, origins, conditions,
    meter_settings, data_hash, weights_total, weights_trainable, adapter_weights, memory_predicted, memory_measured,
    epochs_planned, epochs_done, best_epoch, dev_avg, leaderboard, iif(started_at IS NULL, 0, 1), created_at,
    started_at, finished_at, stop_requested_at, worker_pid, worker_started_at, worker_boot_id, worker_host,
    heartbeat_at
FROM runs ORDER BY rowid;

DROP TABLE runs;

ALTER TABLE runs_of_0003 RENAME TO runs;

CREATE INDEX runs_by_time ON runs (created_at);

CREATE INDEX runs_by_group ON runs (group_hash, data_hash);

CREATE INDEX runs_by_state ON runs (state, place);

ALTER TABLE phases ADD COLUMN session INTEGER NOT NULL DEFAULT 1;

ALTER TABLE phases ADD COLUMN sequence INTEGER;

CREATE UNIQUE INDEX phases_written_once ON phases (run_id, session, sequence);

CREATE TABLE queue_settings (
    host TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (host, name)
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
