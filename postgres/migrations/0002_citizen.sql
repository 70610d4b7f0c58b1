-- Owner: citizen. Whom we tell; everything personal is sealed or a keyed digest.

-- A data key per list, per agency and day for express sending, per month for inbound; wrapped by the key set outside the database.
CREATE TABLE data_keys (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope        text        NOT NULL UNIQUE,          -- 'list/<uuid>', 'express/<agency>/<date>', 'inbound/<month>'
    agency       text        NOT NULL DEFAULT '',
    wrapped      bytea,                                -- NULL once destroyed: what it sealed is gone for good
    created_at   timestamptz NOT NULL DEFAULT now(),
    destroyed_at timestamptz
);

-- Keyed digest of a phone, a SNILS or a name with birth date -> what concerns this person. Purgeable, rewritten on key rotation.
CREATE TABLE persons_index (
    digest   bytea    NOT NULL CHECK (octet_length(digest) = 16),
    ref_kind smallint NOT NULL,                        -- 1 notification, 2 rejection, 3 inbound message
    ref      bigint   NOT NULL,
    PRIMARY KEY (digest, ref_kind, ref)
);

-- Refusals by phone. A row survives the purge of everything else about the person.
CREATE TABLE opt_outs (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest    bytea       NOT NULL CHECK (octet_length(digest) = 16),
    scope     text        NOT NULL DEFAULT 'all',      -- 'all' or an agency's code
    source    text        NOT NULL,                    -- 'sms', 'call', 'operator'
    cause     text        NOT NULL DEFAULT '',         -- 'inbound/<no>'
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    lifted_at timestamptz
);
CREATE INDEX opt_outs_digest ON opt_outs (digest) WHERE lifted_at IS NULL;
CREATE INDEX opt_outs_at ON opt_outs (at);
