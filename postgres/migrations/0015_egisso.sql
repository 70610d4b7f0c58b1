-- Owner: egisso. Reading the feed: what could not be taken, who reads what and how it goes, sources that were stopped.

-- Messages that could not be taken, whole and sealed. From here they are published to <topic>.rejected.
CREATE TABLE feed_rejected (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source        text        NOT NULL,
    topic         text        NOT NULL,
    partition_no  integer     NOT NULL,
    offset_no     bigint      NOT NULL,
    stamped_at    timestamptz NOT NULL,                -- the record's own time: a topic made anew counts its offsets from zero again
    code          text        NOT NULL,
    detail        text        NOT NULL,                -- in Russian; repeats nothing of the message
    size          bigint      NOT NULL,                -- of the value, in bytes
    data_key      bigint      NOT NULL REFERENCES data_keys,
    sealed_head   bytea       NOT NULL,                -- key and headers
    sealed_value  bytea       NOT NULL,
    at            timestamptz NOT NULL,
    claimed_until timestamptz,                         -- some process is publishing it
    published_at  timestamptz,
    UNIQUE (topic, partition_no, offset_no, stamped_at)
);
CREATE INDEX feed_rejected_open ON feed_rejected (topic, id) WHERE published_at IS NULL;
ALTER TABLE feed_rejected ALTER COLUMN sealed_value SET STORAGE EXTERNAL;

-- How the reading of each topic goes, as each process last said.
CREATE TABLE feed_readers (
    topic        text        NOT NULL,
    process      text        NOT NULL,
    source       text        NOT NULL,
    partitions   integer     NOT NULL,                 -- that this process reads; the others are another's
    lag          bigint      NOT NULL,                 -- messages of these that are not stored yet
    last_part_at timestamptz,
    fault        text        NOT NULL,                 -- '' = none
    fault_since  timestamptz,
    at           timestamptz NOT NULL,
    PRIMARY KEY (topic, process)
);

-- Sources that are not read until a person resumes them.
CREATE TABLE feed_stops (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source       text        NOT NULL,
    topic        text        NOT NULL,
    partition_no integer     NOT NULL,
    offset_no    bigint      NOT NULL,                 -- of the message that broke the rule
    rule         text        NOT NULL,
    at           timestamptz NOT NULL,
    lifted_at    timestamptz,
    lifted_by    text        NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX feed_stops_open ON feed_stops (source) WHERE lifted_at IS NULL;
