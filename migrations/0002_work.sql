-- What the workers need between two steps. None of it is a read table, none of it is rebuilt.
-- depends: 0001_event_store

-- How far a projection or reactor has come in each partition of the log.
create table checkpoint (
    consumer   text        not null,
    partition  smallint    not null check (partition between 0 and 15),
    position   bigint      not null default 0,
    epoch      bigint      not null default 0,
    updated_at timestamptz not null default now(),
    primary key (consumer, partition)
);

comment on column checkpoint.epoch is 'Grows with every change of the owner; a writer with an older epoch is a zombie.';

-- Events that a consumer could not handle, and later events of the same streams, kept aside so that all others go on.
create table parked (
    consumer  text        not null,
    partition smallint    not null,
    place     bigint      not null,
    stream_id uuid        not null,
    error     text        not null,
    parked_at timestamptz not null default now(),
    primary key (consumer, partition, place)
);

create index parked_stream on parked (consumer, stream_id);

-- Who does what alone, until when. The epoch grows with every new holder.
create table lease (
    name       text        not null primary key,
    holder     text        not null,
    epoch      bigint      not null,
    expires_at timestamptz not null
);

-- When each monitor is due. due_at moves only in the transaction that records the evaluation of the slot, so that a slot
-- whose job was lost is handed out again.
create table schedule (
    monitor_id         uuid        not null primary key,
    owner_id           uuid        not null,
    schedule           jsonb       not null,
    active             boolean     not null,
    due_at             timestamptz not null,
    enqueued_at        timestamptz,
    last_evaluation_id uuid
);

comment on column schedule.last_evaluation_id is 'What the next evaluation compares with; its compare-and-set keeps the evaluations of a monitor in a row.';

create index schedule_due on schedule (due_at) where active;

-- Evaluations somebody asked for and that are not done yet.
create table evaluation_request (
    evaluation_id uuid        not null primary key,
    monitor_id    uuid        not null,
    owner_id      uuid        not null,
    requested_at  timestamptz not null,
    enqueued_at   timestamptz
);

create index evaluation_request_waiting on evaluation_request (requested_at);
create unique index evaluation_request_one_waiting on evaluation_request (monitor_id) where enqueued_at is null;
create index evaluation_request_of_monitor on evaluation_request (monitor_id);

-- The content of every evidence ever used, once for each hash, compressed with zstd.
create table evidence (
    hash       text        not null primary key check (hash ~ '^[0-9a-f]{64}$'),
    body       bytea       not null,
    body_bytes integer     not null,
    read_at    timestamptz not null
);

-- What the last answer of a source was, for conditional requests. What it called its content belongs here and not to the
-- content, which others may have called otherwise.
create table source_memory (
    monitor_id    uuid        not null,
    url           text        not null,
    etag          text,
    last_modified text,
    content_type  text        not null,
    charset       text,
    evidence_hash text        not null references evidence (hash),
    read_at       timestamptz not null,
    primary key (monitor_id, url)
);

-- Which worker is delivering a notification, until when.
create table delivery_claim (
    notification_id uuid        not null primary key,
    claimed_until   timestamptz not null
);

-- What proves who somebody is. Never in an event, never in a read table.
create table credential (
    user_id       uuid        not null primary key,
    password_hash text        not null,
    changed_at    timestamptz not null
);

-- Sessions: only hashes of refresh tokens. A spent token that comes back ends its whole family (RFC 9700, 4.14.2).
create table session (
    id           uuid        not null primary key,
    user_id      uuid        not null,
    token_hash   bytea       not null unique,
    spent_hashes bytea[]     not null default '{}',
    created_at   timestamptz not null,
    refreshed_at timestamptz not null,
    expires_at   timestamptz not null,
    ended_at     timestamptz
);

create index session_of_user on session (user_id) where ended_at is null;
create index session_spent on session using gin (spent_hashes);
