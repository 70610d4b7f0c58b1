-- Owner: catalog. What may be said, and the numbers of the regulations. A version is never changed once written.
CREATE TABLE catalog_items (
    kind           text        NOT NULL,               -- life_event, measure, agency, source, template, rule, link_price, …
    code           text        NOT NULL,
    version        integer     NOT NULL CHECK (version > 0),
    agency         text        NOT NULL DEFAULT '',    -- owner; '' = common to all
    effective_from timestamptz NOT NULL DEFAULT '-infinity',
    effective_to   timestamptz NOT NULL DEFAULT 'infinity',
    body           jsonb       NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    created_by     text        NOT NULL DEFAULT '',
    PRIMARY KEY (kind, code, version)
);
