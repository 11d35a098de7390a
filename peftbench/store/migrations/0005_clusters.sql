ALTER TABLE predictions ADD COLUMN cluster TEXT;
