CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

INSERT INTO meta VALUES ('database_id', lower(hex(randomblob(16))));

CREATE INDEX runs_by_preset ON runs (preset, created_at, state);

CREATE INDEX runs_by_spec ON runs (spec_hash);

CREATE INDEX runs_by_sweep ON runs (sweep, created_at) WHERE sweep IS NOT NULL;

CREATE INDEX runs_by_state_and_time ON runs (state, created_at);

CREATE INDEX runs_to_judge_a_spec_by ON runs (state, group_hash, created_at, worker_host);

CREATE INDEX runs_to_judge_a_workload_by ON runs (state, workload, created_at, method, worker_host);

CREATE TABLE run_changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL UNIQUE
) STRICT;

INSERT INTO run_changes (run_id) SELECT id FROM runs ORDER BY rowid;

CREATE TRIGGER run_inserted AFTER INSERT ON runs BEGIN
    DELETE FROM run_changes WHERE run_id = NEW.id;
    INSERT INTO run_changes (run_id) VALUES (NEW.id);
END;

CREATE TRIGGER run_updated AFTER UPDATE ON runs BEGIN
    DELETE FROM run_changes WHERE run_id IN (OLD.id, NEW.id);
    INSERT INTO run_changes (run_id) VALUES (NEW.id);
END;

CREATE TRIGGER run_deleted AFTER DELETE ON runs BEGIN
    DELETE FROM run_changes WHERE run_id = OLD.id;
    INSERT INTO run_changes (run_id) VALUES (OLD.id);
END
