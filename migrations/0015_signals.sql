-- What others send: where they may send it, with which secrets, who watches, and what can be read of it.
-- depends: 0014_handing_out

create table signal_source (
    id               uuid        not null primary key,
    owner_id         uuid        not null,
    last_signal_id   uuid,
    last_received_at timestamptz,
    refused_count    bigint      not null default 0,
    last_refused_at  timestamptz,
    last_refusal     text
);
comment on table signal_source is 'Where signals are taken now, and the last one that came. A deleted source has no row.';
comment on column signal_source.last_refusal is 'Why the last signal with a good signature was refused, without its content.';
create index signal_source_of_owner on signal_source (owner_id);

create table signal_secret (
    id        uuid        not null primary key,
    source_id uuid        not null references signal_source (id) on delete cascade,
    owner_id  uuid        not null,
    sealed    bytea       not null,
    made_at   timestamptz not null,
    ends_at   timestamptz
);
comment on column signal_secret.sealed is 'The secret under the key of its person. Without ends_at it is the newest of its source.';
create unique index signal_secret_newest on signal_secret (source_id) where ends_at is null;
create index signal_secret_of_source on signal_secret (source_id);
create index signal_secret_of_owner on signal_secret (owner_id);

-- Which active monitors a signal is evaluated for.
create table signal_watch (
    source_id  uuid not null,
    monitor_id uuid not null,
    owner_id   uuid not null,
    primary key (source_id, monitor_id)
);
create index signal_watch_of_monitor on signal_watch (monitor_id);
create index signal_watch_of_owner on signal_watch (owner_id);

grant select, insert, update, delete on signal_source, signal_secret, signal_watch to vigil_app;

create table read_model.signal_sources (
    id                   uuid        not null primary key,
    owner_id             uuid        not null references read_model.users (id) on delete cascade,
    name                 text        not null,
    schema               text,
    silent_after_seconds bigint,
    overlap_ends_at      timestamptz,
    signals              bigint      not null default 0,
    last_received_at     timestamptz,
    version              integer     not null,
    created_at           timestamptz not null,
    updated_at           timestamptz not null,
    deleted_at           timestamptz
);
create index signal_sources_of_owner on read_model.signal_sources (owner_id, created_at desc, id) where deleted_at is null;
create index signal_sources_of_person on read_model.signal_sources (owner_id);

create table read_model.signals (
    id          uuid        not null primary key,
    source_id   uuid        not null references read_model.signal_sources (id) on delete cascade,
    owner_id    uuid        not null references read_model.users (id) on delete cascade,
    webhook_id  text        not null,
    body        text        not null,
    evaluations uuid[]      not null,
    sent_at     timestamptz not null,
    received_at timestamptz not null
);
comment on column read_model.signals.body is 'JSON as it came: jsonb would refuse some of it, and change numbers.';
create index signals_of_source on read_model.signals (source_id, received_at desc, id desc);
create index signals_of_person on read_model.signals (owner_id);

grant select, insert, update, delete on read_model.signal_sources, read_model.signals to vigil_app;
