ALTER TABLE losses ADD COLUMN metric REAL;

ALTER TABLE losses ADD COLUMN lr REAL;

ALTER TABLE losses ADD COLUMN grad_norm REAL;

ALTER TABLE losses ADD COLUMN wall_s REAL;


CREATE TABLE interim_scores (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    task TEXT NOT NULL,
    metric TEXT NOT NULL,
    value REAL,
    reason TEXT,
    loss REAL NOT NULL,
    examples INTEGER NOT NULL,
    PRIMARY KEY (run_id, step, task),
    CHECK (value IS NOT NULL OR reason IS NOT NULL)
) STRICT;
