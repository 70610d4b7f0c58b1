-- Owner: openapi. Addresses at which an agency, or one of its systems, hears what became of its lists without Kafka.
CREATE TABLE webhooks (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agency     text        NOT NULL,
    source     text        NOT NULL DEFAULT '',        -- lists of this catalogue's source only; '' = of all
    url        text        NOT NULL,
    statuses   text        NOT NULL CHECK (statuses IN ('all','final')),
    replies    boolean     NOT NULL,
    data_key   bigint      NOT NULL REFERENCES data_keys,
    sealed     bytea       NOT NULL,                   -- the secret that signs
    position   bigint      NOT NULL,                   -- of the journal: everything before it was taken by the far side
    failures   integer     NOT NULL DEFAULT 0,         -- one after another
    fault      text        NOT NULL DEFAULT '',        -- of the last of them
    since      timestamptz,                            -- of the first of them
    retry_at   timestamptz,
    dead       boolean     NOT NULL DEFAULT false,     -- given up, until a person says to go on
    created_at timestamptz NOT NULL,
    created_by text        NOT NULL
);
CREATE INDEX webhooks_agency ON webhooks (agency, id);
