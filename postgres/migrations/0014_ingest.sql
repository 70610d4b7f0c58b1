-- Owner: ingest. Lists that come by the feed, part by part, and what is known of them before all of it is here.

-- A list of the feed. Its parts are the chunks of its one file; it is checked when all are there.
CREATE TABLE feed_lists (
    list_no  bigint      NOT NULL PRIMARY KEY REFERENCES lists ON DELETE CASCADE,
    source   text        NOT NULL,
    parts    integer     NOT NULL,                     -- announced
    received integer     NOT NULL DEFAULT 0,
    header   bytea       NOT NULL,                     -- keyed digest of what every part must say alike
    last_at  timestamptz NOT NULL,                     -- when its last part came
    overdue  boolean     NOT NULL DEFAULT false        -- its missing parts were complained of
);
CREATE INDEX feed_lists_open ON feed_lists (last_at) WHERE received < parts;
-- The gate of the feed: a part that is here was stored, with this content; a repeat stops here.
CREATE TABLE feed_parts (
    list_no bigint      NOT NULL,
    part    integer     NOT NULL,
    digest  bytea       NOT NULL,                      -- keyed
    rows    integer     NOT NULL,
    at      timestamptz NOT NULL,
    PRIMARY KEY (list_no, part)
);
-- ЕГИССО's own message from which a list was made, for the history's answer; sealed by the list's key, its commitment is in the journal.
CREATE TABLE feed_messages (
    list_no bigint NOT NULL PRIMARY KEY,
    sealed  bytea  NOT NULL
);
-- Rows that are named by their external id alone: facts of assignment, which later messages take back without naming a list.
CREATE TABLE feed_facts (
    source      text   NOT NULL,
    external_id text   NOT NULL,
    list_no     bigint NOT NULL,
    PRIMARY KEY (source, external_id, list_no)
);
-- What a source has taken back of lists that were not here, or not checked, when it said so.
CREATE TABLE recalls (
    source      text        NOT NULL,
    list_id     uuid        NOT NULL,                  -- zero = whatever list has the row
    external_id text        NOT NULL DEFAULT '',       -- '' = the whole list
    agency      text        NOT NULL,
    reason      text        NOT NULL,
    occurred_at timestamptz NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (source, list_id, external_id)
);
CREATE INDEX recalls_at ON recalls (at);
-- Sources whose lists wait until a person lets them go: something is wrong with their producer.
CREATE TABLE source_holds (
    source text        NOT NULL PRIMARY KEY,
    reason text        NOT NULL,
    at     timestamptz NOT NULL
);
