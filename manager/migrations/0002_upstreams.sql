-- What a node made of the upstreams that the cluster adds: only a node whose own file takes them says anything.
ALTER TABLE nodes ADD COLUMN takes_upstreams INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN upstreams_revision TEXT NOT NULL DEFAULT '';
-- JSON object: name of a resource -> why the node does not dial it
ALTER TABLE nodes ADD COLUMN upstreams_refused TEXT NOT NULL DEFAULT '{}';
