-- Owner: ingest. A list from any source, its file, its verdicts.
CREATE TABLE lists (
    no           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           uuid        NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    agency       text        NOT NULL,
    source       text        NOT NULL,                 -- the catalogue's source entry, 'upload', 'api'
    kind         text        NOT NULL CHECK (kind IN ('file','feed','json','express')),
    name         text        NOT NULL,
    state        text        NOT NULL CHECK (state IN ('receiving','checking','rejected','ready','refused','approved','running','paused','cancelling','cancelled','completed')),
    state_reason text        NOT NULL DEFAULT '',
    life_event   text        NOT NULL DEFAULT '',
    template     text        NOT NULL DEFAULT '',
    template_version integer NOT NULL DEFAULT 0,       -- pinned when checked
    channels     text[]      NOT NULL,
    priority     text        NOT NULL DEFAULT 'normal' CHECK (priority IN ('urgent','normal','bulk')),
    on_uncertain text        NOT NULL DEFAULT 'resend',
    legal_basis  jsonb,
    ordered_by   text        NOT NULL DEFAULT '',
    not_before   timestamptz,
    valid_until  timestamptz,
    inform_by    timestamptz,
    test         boolean     NOT NULL DEFAULT false,
    data_key     bigint      NOT NULL REFERENCES data_keys,
    rows         integer     NOT NULL DEFAULT 0,
    accepted     integer     NOT NULL DEFAULT 0,
    rejected     integer     NOT NULL DEFAULT 0,
    warnings     integer     NOT NULL DEFAULT 0,
    segments     bigint      NOT NULL DEFAULT 0,
    digest       bytea,                                -- of what would be sent; approve names it
    corrects     bigint,                               -- the list this one mends
    loaded_by    text        NOT NULL,
    approved_by  text        NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    approved_at  timestamptz,
    start_at     timestamptz,
    first_sent_at timestamptz,
    ended_at     timestamptz
);
CREATE INDEX lists_agency ON lists (agency, no);
CREATE INDEX lists_open ON lists (state, no) WHERE state NOT IN ('completed','cancelled','refused','rejected');

-- The sender's file, sealed in chunks and committed before it is acknowledged; checking is a job any process resumes.
CREATE TABLE list_files (
    list_no     bigint      NOT NULL REFERENCES lists,
    file_no     integer     NOT NULL,
    format      text        NOT NULL,                  -- xlsx, csv
    size        bigint      NOT NULL,
    digest      bytea       NOT NULL,                  -- keyed digest of its bytes: the same file again is noticed
    complete    boolean     NOT NULL DEFAULT false,
    checked_by  text        NOT NULL DEFAULT '',
    checked_until timestamptz,                         -- lease of the process that checks it
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (list_no, file_no)
);
CREATE INDEX list_files_digest ON list_files (digest);
CREATE TABLE list_file_chunks (
    list_no  bigint  NOT NULL,
    file_no  integer NOT NULL,
    chunk_no integer NOT NULL,
    sealed   bytea   NOT NULL,
    PRIMARY KEY (list_no, file_no, chunk_no)
);
ALTER TABLE list_file_chunks ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- The gate of admission: a slice or part that is here was admitted, with this content; a repeat stops here.
CREATE TABLE list_parts (
    list_no  bigint      NOT NULL REFERENCES lists,
    part     integer     NOT NULL,
    digest   bytea       NOT NULL,
    rows     integer     NOT NULL,
    accepted integer     NOT NULL,
    first_ordinal integer NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (list_no, part)
);

-- Faults and warnings, in the sender's own row numbers. No value of the row is here; the row itself is in the sealed file.
CREATE TABLE rejections (
    list_no     bigint   NOT NULL,
    row_no      integer  NOT NULL,
    no          smallint NOT NULL,                     -- several per row
    part        integer  NOT NULL DEFAULT 1,
    message_type smallint NOT NULL CHECK (message_type IN (1, 2)),  -- 1 error: the row was not taken; 2 warning
    rule_code   smallint NOT NULL,
    field       text     NOT NULL DEFAULT '',
    external_id text     NOT NULL DEFAULT '',
    PRIMARY KEY (list_no, row_no, no)
);

-- Totals by state, moved by the follower of the journal; never counted by a query.
CREATE TABLE list_counters (
    list_no bigint   NOT NULL,
    state   smallint NOT NULL,
    n       bigint   NOT NULL,
    PRIMARY KEY (list_no, state)
);
