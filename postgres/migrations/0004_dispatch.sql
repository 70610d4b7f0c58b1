-- Owner: dispatch. When a notification leaves, by which channel, what became of it.

-- Links that may stand in for each other. fence is raised at each takeover; settling transactions check it. Renewals live
-- in pool_holders so that they never touch the row the fence is read from.
CREATE TABLE pools (
    no      smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    text     NOT NULL UNIQUE,
    channel text     NOT NULL,
    fence   bigint   NOT NULL DEFAULT 0
);
CREATE TABLE pool_holders (
    pool       smallint    NOT NULL PRIMARY KEY REFERENCES pools,
    process    text        NOT NULL,
    fence      bigint      NOT NULL,
    renewed_at timestamptz NOT NULL
);
CREATE TABLE links (
    no   smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text     NOT NULL UNIQUE,
    pool smallint NOT NULL REFERENCES pools,
    state    jsonb NOT NULL DEFAULT '{}',               -- dispatch.LinkState, as its holder last said
    state_at timestamptz
);

-- Checked directly before the wire, in every process.
CREATE TABLE stops (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope     text        NOT NULL CHECK (scope IN ('all','agency','channel','pool','link','template','life_event','list')),
    target    text        NOT NULL DEFAULT '',
    reason    text        NOT NULL,
    actor     text        NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    lifted_at timestamptz,
    lifted_by text        NOT NULL DEFAULT ''
);

-- One sealed blob per row: phone, names, SNILS, text, salt. id = list number << 24 | ordinal: inserts append, an id names its
-- list and its partition. A partition holds 4096 consecutive lists (2^36 ids), so retention drops whole partitions.
CREATE TABLE notifications (
    id          bigint   NOT NULL PRIMARY KEY,
    row_no      integer  NOT NULL,                     -- the row's number as its sender counts
    part        integer  NOT NULL DEFAULT 1,
    segments    smallint NOT NULL DEFAULT 1,           -- SMS segments of the rendered text
    valid_until timestamptz,
    inform_by   timestamptz,
    external_id text     NOT NULL,
    sealed      bytea    NOT NULL
) PARTITION BY RANGE (id);
CREATE TABLE notifications_0 PARTITION OF notifications FOR VALUES FROM (0) TO (68719476736);
CREATE TABLE notifications_1 PARTITION OF notifications FOR VALUES FROM (68719476736) TO (137438953472);

-- One run per list, pool, zones, lane and step of the plan: pausing a million rows changes one row here.
CREATE TABLE runs (
    id          integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    list_no     bigint      NOT NULL,
    agency      text        NOT NULL,
    pool        smallint    NOT NULL REFERENCES pools,
    channel     text        NOT NULL,
    plan        text[]      NOT NULL,                  -- channels in order: {sms}, {sms,voice}
    step        smallint    NOT NULL DEFAULT 0,        -- which of plan this run performs
    lane        smallint    NOT NULL,                  -- 0 answers and single events, 1 normal, 2 bulk
    weight      smallint    NOT NULL DEFAULT 1,
    zones       text        NOT NULL,                  -- citizen.Zones, canonical
    wide_window boolean     NOT NULL DEFAULT false,    -- priority urgent: the wider window of the rules
    exempt      boolean     NOT NULL DEFAULT false,    -- answers only: no window, caps, opt-out
    on_uncertain text       NOT NULL DEFAULT 'resend' CHECK (on_uncertain IN ('resend','hold')),
    data_key    bigint      NOT NULL REFERENCES data_keys,
    life_event  text        NOT NULL DEFAULT '',
    template    text        NOT NULL DEFAULT '',
    sender      text        NOT NULL DEFAULT '',
    test        boolean     NOT NULL DEFAULT false,    -- of a test key: simulators only
    valid_until timestamptz,                           -- the latest of its rows; NULL = none
    state       text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting','active','paused','cancelling','done')),
    next_due    timestamptz NOT NULL DEFAULT '-infinity',
    UNIQUE NULLS NOT DISTINCT (list_no, pool, zones, wide_window, lane, plan, step, template, life_event, valid_until, on_uncertain)
);
CREATE INDEX runs_due ON runs (pool, lane, next_due) WHERE state IN ('active','cancelling');

-- The one list of what is still to do. tries and sequence fill what alignment would waste.
CREATE TABLE outbox (
    run      integer     NOT NULL,
    tries    smallint    NOT NULL DEFAULT 0,           -- attempts made so far
    sequence smallint    NOT NULL DEFAULT 0,           -- the last sequence told
    due_at   timestamptz NOT NULL,
    id       bigint      NOT NULL,
    PRIMARY KEY (run, due_at, id)
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- One row per claimed batch. What is still in the outbox and in a lease of an older fence may have left: uncertain.
CREATE TABLE leases (
    batch bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run   integer     NOT NULL,
    pool  smallint    NOT NULL,
    fence bigint      NOT NULL,
    ids   bigint[]    NOT NULL,
    first_due timestamptz NOT NULL,                    -- where its rows lie in the outbox: between (first_due, first_id)
    first_id  bigint      NOT NULL,                    -- and (last_due, last_id)
    last_due  timestamptz NOT NULL,
    last_id   bigint      NOT NULL,
    at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Append-only, a partition a day; a message of several segments has a row per segment.
CREATE TABLE attempts (
    notification bigint      NOT NULL,
    at           timestamptz NOT NULL,
    entry        bigint      NOT NULL,
    run          integer     NOT NULL,
    link         smallint    NOT NULL,
    no           smallint    NOT NULL,                 -- 1 for the first attempt
    sequence     smallint    NOT NULL,
    segment      smallint    NOT NULL DEFAULT 1,
    segments     smallint    NOT NULL DEFAULT 1,
    state        smallint    NOT NULL,                 -- dispatch.AttemptState
    message_id   text        COLLATE "C" NOT NULL DEFAULT '',
    code         text        COLLATE "C" NOT NULL DEFAULT ''
) PARTITION BY RANGE (at);
CREATE INDEX attempts_message ON attempts (message_id, link);
CREATE INDEX attempts_notification ON attempts (notification);
CREATE INDEX attempts_at ON attempts USING brin (at);
CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;

-- One narrow row per ended notification; ends are raised by later receipts, never lowered.
CREATE TABLE outcomes (
    id       bigint      NOT NULL PRIMARY KEY,
    at       timestamptz NOT NULL,
    entry    bigint      NOT NULL,
    state    smallint    NOT NULL,                     -- dispatch.State
    sequence smallint    NOT NULL,
    attempt  smallint    NOT NULL,
    link     smallint    NOT NULL DEFAULT 0,
    reason   text        COLLATE "C" NOT NULL DEFAULT '',
    code     text        COLLATE "C" NOT NULL DEFAULT ''
);
-- 10 = delivered.
CREATE INDEX outcomes_not_delivered ON outcomes (id) INCLUDE (state, at) WHERE state <> 10;

-- What may have left: waits for a late receipt (matched by the destination's digest and the submit date), then for its policy.
CREATE TABLE uncertain (
    notification bigint      NOT NULL PRIMARY KEY,
    digest       bytea       NOT NULL,
    pool         smallint    NOT NULL,
    run          integer     NOT NULL,
    due_at       timestamptz NOT NULL,                 -- of its outbox row when it became uncertain
    link         smallint    NOT NULL DEFAULT 0,
    no           smallint    NOT NULL,
    sequence     smallint    NOT NULL,
    since        timestamptz NOT NULL,                 -- the earliest instant it can have left
    at           timestamptz NOT NULL,
    decided      boolean     NOT NULL DEFAULT false    -- a person said to send it again, whatever the list's policy
);
CREATE INDEX uncertain_digest ON uncertain (digest);

-- Receipts whose message_id we never learnt: answered only after they are here.
CREATE TABLE orphan_receipts (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    link         smallint    NOT NULL,
    message_id   text        COLLATE "C" NOT NULL,
    digest       bytea       NOT NULL,
    state        smallint    NOT NULL,
    code         text        COLLATE "C" NOT NULL DEFAULT '',
    submitted_at timestamptz,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    notification bigint                                -- set when it settled one
);
CREATE INDEX orphan_receipts_digest ON orphan_receipts (digest) WHERE notification IS NULL;
CREATE INDEX orphan_receipts_message ON orphan_receipts (message_id, link);
