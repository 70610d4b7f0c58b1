-- Owner: openapi. Who may ask.
CREATE TABLE accounts (
    login      text        NOT NULL PRIMARY KEY,       -- never reused, never renamed: it is the journal's actor
    kind       text        NOT NULL CHECK (kind IN ('person','system')),
    title      text        NOT NULL DEFAULT '',
    agency     text        NOT NULL DEFAULT '',        -- '' = the operator of the system
    region     text        NOT NULL DEFAULT '',
    roles      text[]      NOT NULL,
    source     text        NOT NULL DEFAULT '',        -- of a system: its catalogue entry
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text        NOT NULL,
    blocked_at timestamptz
);
CREATE TABLE keys (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    login        text        NOT NULL REFERENCES accounts,
    prefix       text        NOT NULL UNIQUE,          -- the part that may be shown
    hash         bytea       NOT NULL,                 -- SHA-256 of the 256-bit random secret
    test         boolean     NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text        NOT NULL,
    expires_at   timestamptz,
    revoked_at   timestamptz
);
CREATE TABLE idempotency_keys (
    login    text        NOT NULL,
    key      text        NOT NULL,
    digest   bytea       NOT NULL,                     -- keyed digest of method, path and body
    status   integer,                                  -- NULL while the first call is under way
    answer   bytea,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (login, key)
);
CREATE INDEX idempotency_keys_at ON idempotency_keys (at);
