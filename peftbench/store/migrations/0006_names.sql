ALTER TABLE runs RENAME COLUMN session TO attempt;

ALTER TABLE runs RENAME COLUMN place TO queue_position;

ALTER TABLE phases RENAME COLUMN session TO attempt;

UPDATE phases SET phase = 'frozen_features' WHERE phase = 'prefix';

UPDATE samples SET phase = 'frozen_features' WHERE phase = 'prefix';

UPDATE events SET kind = 'frozen_features' WHERE kind = 'prefix'
