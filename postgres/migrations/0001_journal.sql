-- Owner: journal. The one record of what happened. Nothing here is ever updated or deleted by the product.

-- Entry ids are handed out by processes from blocks of 2^20, so that a transaction numbers its entries without a round trip.
CREATE SEQUENCE journal_entry_ids AS bigint INCREMENT BY 1048576 START 1048576;

-- One row per (transaction, kind, list), at most 256 entries. entries holds their canonical bytes one after another, each led
-- by its length (uvarint); they are hashed exactly as kept. The columns repeat what queries look for.
CREATE TABLE journal (
    first_id bigint      NOT NULL PRIMARY KEY,
    count    smallint    NOT NULL CHECK (count BETWEEN 1 AND 256),
    kind     text        NOT NULL,
    agency   text        NOT NULL DEFAULT '',
    actor    text        NOT NULL DEFAULT '',
    purpose  text        NOT NULL DEFAULT '',
    list_no  bigint,
    at       timestamptz NOT NULL,
    entries  bytea       NOT NULL
);
ALTER TABLE journal ALTER COLUMN entries SET STORAGE EXTERNAL;
CREATE INDEX journal_list ON journal (list_no, kind, first_id) WHERE list_no IS NOT NULL;
CREATE INDEX journal_actor ON journal (actor, first_id) WHERE actor <> '';

-- One row per writing transaction: the contiguous range of ids it used. The sequencer moves it to ranges.
CREATE TABLE unplaced (
    first_id bigint      NOT NULL,
    count    integer     NOT NULL CHECK (count > 0),
    at       timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- The provable order: entry first_id + k stands at position + k. Positions have no gaps.
CREATE TABLE ranges (
    position bigint  NOT NULL PRIMARY KEY,
    first_id bigint  NOT NULL UNIQUE,
    count    integer NOT NULL CHECK (count > 0)
);

-- One RFC 6962 Merkle root over the leaves of each full 256 positions.
CREATE TABLE roots (
    no   bigint NOT NULL PRIMARY KEY,
    root bytea  NOT NULL CHECK (octet_length(root) = 32)
);

-- Whoever follows the journal (counters, publisher, proof) keeps one number here.
CREATE TABLE followers (
    name     text   NOT NULL PRIMARY KEY,
    position bigint NOT NULL DEFAULT 0
);
