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
