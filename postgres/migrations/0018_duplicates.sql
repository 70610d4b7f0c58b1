-- Owner: dispatch. Rows that are not told because an earlier one tells the same: they never enter the outbox. They wait here for the start
-- of their list, and end with it as suppressed; should the earlier row come to nothing by then, they go into the outbox after all.
CREATE TABLE duplicates (
    id      bigint      NOT NULL PRIMARY KEY,
    earlier bigint      NOT NULL,                      -- the notification that tells it: one that is not here itself
    run     integer     NOT NULL,                      -- where it would stand in the outbox
    due_at  timestamptz NOT NULL,
    ended   boolean     NOT NULL DEFAULT false         -- it has an outcome
);
CREATE INDEX duplicates_open ON duplicates (id) WHERE NOT ended;
CREATE INDEX duplicates_earlier ON duplicates (earlier) WHERE NOT ended;

-- Owner: ingest.
ALTER TABLE lists ADD COLUMN suppressed integer NOT NULL DEFAULT 0;    -- of accepted: set aside by the check as duplicates
