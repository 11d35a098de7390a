ALTER TABLE predictions ADD COLUMN split TEXT NOT NULL DEFAULT 'dev' CHECK (split IN ('dev', 'test'));

CREATE VIEW test_scores AS
SELECT runs.id AS run_id, runs.name, runs.preset, runs.workload, runs.method, runs.seed,
       scores.task, scores.metric, scores.value AS test, scores.reason, dev.value AS dev, scores.examples, scores.epoch
FROM runs
JOIN scores ON scores.run_id = runs.id AND scores.epoch = runs.best_epoch AND scores.split = 'test'
LEFT JOIN scores AS dev
  ON dev.run_id = runs.id AND dev.epoch = scores.epoch AND dev.task = scores.task AND dev.split = 'dev'
