-- Owner: citizen. How a person can be reached, by the SNILS; what accepted rows say of it is not copied here.
CREATE TABLE contacts (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person     bytea       NOT NULL CHECK (octet_length(person) = 16), -- keyed digest of the SNILS
    phone      bytea       NOT NULL CHECK (octet_length(phone) = 16),  -- keyed digest: the same phone is told again, not twice
    sealed     bytea       NOT NULL,
    data_key   bigint      NOT NULL REFERENCES data_keys,
    source     text        NOT NULL,                   -- who says so: an agency, ''
    trust      smallint    NOT NULL,                   -- citizen.Trust
    entered_by text        NOT NULL,
    at         timestamptz NOT NULL,
    UNIQUE (person, phone)
);
