-- Owner: inbound. Every contact gets a number before it is acknowledged, also an empty or unreadable one.
CREATE TABLE inbound_messages (
    no           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel      text        NOT NULL,                 -- sms
    link         text        NOT NULL,
    at           timestamptz NOT NULL,                 -- read from the wire; of several parts the first that came
    parts        smallint    NOT NULL DEFAULT 1,       -- that came
    complete     boolean     NOT NULL DEFAULT true,    -- false: a part never came
    kind         text        NOT NULL,                 -- 'opt_out', 'message'
    idem         bytea       UNIQUE CHECK (octet_length(idem) = 16), -- keyed digest of link, addresses, octets and time bucket: a redelivery is
                                                       -- one message; NULL when joined from parts, whose repeats inbound_parts knows
    data_key     bigint      NOT NULL REFERENCES data_keys,
    sealed       bytea       NOT NULL                  -- from, to, text, octets as they came when they could not be read
);

-- Segments that wait for the rest of their message; for a while also, without content, those that are in one: they may be offered again.
CREATE TABLE inbound_parts (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    set_key  bytea       NOT NULL CHECK (octet_length(set_key) = 16), -- keyed digest of addresses, reference and number of parts
    part     smallint    NOT NULL,
    total    smallint    NOT NULL,
    content  bytea       NOT NULL CHECK (octet_length(content) = 16), -- keyed digest of the octets: other content is another message under the same reference
    link     text        NOT NULL,
    at       timestamptz NOT NULL,                     -- it came; once it is in a message, that was registered
    message  bigint      REFERENCES inbound_messages,  -- NULL: it waits
    data_key bigint      REFERENCES data_keys,
    sealed   bytea,
    UNIQUE (set_key, part, content),
    CHECK ((message IS NULL) = (sealed IS NOT NULL) AND (sealed IS NULL) = (data_key IS NULL))
);
CREATE UNIQUE INDEX inbound_parts_waiting ON inbound_parts (set_key, part) WHERE message IS NULL;
CREATE INDEX inbound_parts_told ON inbound_parts (at) WHERE message IS NOT NULL;
