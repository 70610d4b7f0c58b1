-- Owner: ingest. What a corrected file, and the same list saved anew, are recognised by.
ALTER TABLE lists ADD COLUMN skipped integer NOT NULL DEFAULT 0;       -- rows that an earlier list has taken already
ALTER TABLE lists ADD COLUMN own_ids boolean NOT NULL DEFAULT false;   -- its rows have external ids of their sender's, not row numbers
ALTER TABLE lists ADD COLUMN rows_digest bytea;                        -- keyed, of what its good rows say, whatever file they stood in
CREATE INDEX lists_corrects ON lists (corrects) WHERE corrects IS NOT NULL;
CREATE INDEX lists_rows ON lists (rows_digest) WHERE rows_digest IS NOT NULL;
