CREATE TABLE example_sets (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    examples TEXT NOT NULL
) STRICT;

CREATE TABLE prediction_sets (
    run_id TEXT NOT NULL,
    task TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    split TEXT NOT NULL CHECK (split IN ('dev', 'test')),
    first_position INTEGER NOT NULL,
    example_set INTEGER NOT NULL REFERENCES example_sets (id),
    predictions TEXT NOT NULL,
    probabilities TEXT,
    PRIMARY KEY (run_id, task, epoch, split),
    FOREIGN KEY (run_id, epoch) REFERENCES epochs (run_id, epoch) ON DELETE CASCADE
) STRICT;

CREATE INDEX prediction_sets_by_examples ON prediction_sets (example_set);

INSERT INTO example_sets (sha256, examples)
SELECT DISTINCT sha256(examples), examples
FROM (
    SELECT example_list(position, example_id, label, cluster) AS examples
    FROM predictions GROUP BY run_id, task, epoch, split
);

INSERT INTO prediction_sets (run_id, task, epoch, split, first_position, example_set, predictions)
SELECT run_id, task, epoch, split, first_position, example_sets.id, predictions
FROM (
    SELECT run_id, task, epoch, split, min(position) AS first_position, min(predictions.rowid) AS written,
           sha256(example_list(position, example_id, label, cluster)) AS examples_sha256,
           value_list(position, prediction) AS predictions
    FROM predictions GROUP BY run_id, task, epoch, split
)
JOIN example_sets ON example_sets.sha256 = examples_sha256
ORDER BY written;

DROP TABLE predictions;

CREATE TRIGGER example_sets_in_use AFTER DELETE ON prediction_sets
WHEN NOT EXISTS (SELECT 1 FROM prediction_sets WHERE example_set = OLD.example_set)
BEGIN
    DELETE FROM example_sets WHERE id = OLD.example_set;
END;

CREATE VIEW predictions AS
WITH examples AS MATERIALIZED (
    SELECT example_sets.id AS example_set, each.key AS number, json_extract(each.value, '$[0]') AS example_id,
           json_extract(each.value, '$[1]') AS label, json_extract(each.value, '$[2]') AS cluster
    FROM example_sets CROSS JOIN json_each(example_sets.examples) AS each
)
SELECT sets.run_id, sets.task, sets.epoch, sets.first_position + each.key AS position, examples.example_id,
       CASE typeof(examples.label) WHEN 'integer' THEN CAST(examples.label AS REAL) ELSE examples.label END AS label,
       CASE each.type WHEN 'integer' THEN CAST(each.value AS REAL) ELSE each.value END AS prediction,
       examples.cluster, sets.split
FROM prediction_sets AS sets
CROSS JOIN json_each(sets.predictions) AS each
CROSS JOIN examples ON examples.example_set = sets.example_set AND examples.number = each.key
