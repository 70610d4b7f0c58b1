-- Owner: dispatch. Storage of tables that are written thousands of rows a second.

-- A lease lives for a fraction of a second: compressing its ids costs more than it saves.
ALTER TABLE leases ALTER COLUMN ids SET STORAGE EXTERNAL;

-- A claim asks for every phone whether it was told lately, by the index alone where pages are known to be visible to all. A list is
-- admitted minutes before it is approved: long enough for this to be done by then.
ALTER TABLE persons_index SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
