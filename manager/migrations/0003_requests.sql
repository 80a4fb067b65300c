-- Several small hits of a node's own disk are told as one download.
ALTER TABLE downloads ADD COLUMN requests INTEGER NOT NULL DEFAULT 1;
