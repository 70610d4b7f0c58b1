-- Owner: citizen. People of whom ЕГИССО has said that they have died: nothing more is told them.
CREATE TABLE deceased (
    person bytea       NOT NULL PRIMARY KEY CHECK (octet_length(person) = 16), -- keyed digest of the SNILS
    at     timestamptz NOT NULL                        -- when it was said
);
CREATE INDEX deceased_at ON deceased (at);
