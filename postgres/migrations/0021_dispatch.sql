-- Owner: dispatch. Whom each pool has contacted lately, a row for each recording transaction: a claim reads what is new in it, and looks for
-- earlier contacts of those phones alone that may be there. phones are the first four bytes of their keyed digests, one after another. A pool
-- has one transaction at a time that writes here, so that its rows become visible in the order of no. Kept for a day.
CREATE TABLE pool_contacts (
    pool   smallint    NOT NULL,
    no     bigint      GENERATED ALWAYS AS IDENTITY,
    at     timestamptz NOT NULL,                       -- when it was recorded, no earlier than the contacts
    phones bytea       NOT NULL,
    PRIMARY KEY (pool, no)
);
ALTER TABLE pool_contacts ALTER COLUMN phones SET STORAGE EXTERNAL;

-- A holder of the version before writes nothing there: it raises fence alone. What a pool did is known while the two are equal, since
-- contacts_since; a pool that nobody has held yet has done nothing.
ALTER TABLE pools ADD COLUMN contacts_fence bigint      NOT NULL DEFAULT 0,
                  ADD COLUMN contacts_since timestamptz NOT NULL DEFAULT '-infinity';

-- Owner: journal. A row of the journal is made to fit a page, and stays in it: cut into chunks beside the table it costs twice as much.
ALTER TABLE journal SET (toast_tuple_target = 8160);
