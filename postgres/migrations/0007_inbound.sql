-- Owner: inbound. Every contact gets a number before it is acknowledged, also an empty or unreadable one.
CREATE TABLE inbound_messages (
    no           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel      text        NOT NULL,                 -- sms
    link         text        NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    parts        smallint    NOT NULL DEFAULT 1,
    complete     boolean     NOT NULL DEFAULT true,    -- false: a part never came
    kind         text        NOT NULL,                 -- 'opt_out', 'message'
    idem         bytea       NOT NULL UNIQUE,          -- keyed digest of link, sender, submit stamp, reference, text: a redelivery is one message
    data_key     bigint      NOT NULL REFERENCES data_keys,
    sealed       bytea       NOT NULL                  -- from, to, text, raw coding
);
-- Segments that wait for the rest of their message.
CREATE TABLE inbound_parts (
    link     text        NOT NULL,
    sender   bytea       NOT NULL,                     -- keyed digest
    ref      integer     NOT NULL,
    total    smallint    NOT NULL,
    part     smallint    NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    data_key bigint      NOT NULL REFERENCES data_keys,
    sealed   bytea       NOT NULL,
    PRIMARY KEY (link, sender, ref, total, part)
);
