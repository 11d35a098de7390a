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
