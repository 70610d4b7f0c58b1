-- Owner: ingest. A list of one may be a test sending: it shows a row of another list on a handset that the loader names.
ALTER TABLE lists ADD COLUMN tests bigint;               -- the list whose row it shows; NULL = a list of its own
CREATE INDEX lists_tests ON lists (tests) WHERE tests IS NOT NULL;
CREATE INDEX lists_tests_by ON lists (loaded_by, created_at) WHERE tests IS NOT NULL;
