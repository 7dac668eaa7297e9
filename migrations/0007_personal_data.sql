-- One key for each person; destroying it makes what it sealed unreadable for ever.
-- depends: 0006_append_only

create table person_key (
    owner_id        uuid        not null primary key,
    wrapped         bytea,
    wrapping_key_id text,
    created_at      timestamptz not null default now(),
    destroyed_at    timestamptz,
    check ((wrapped is null) = (destroyed_at is not null)),
    check ((wrapped is null) = (wrapping_key_id is null))
);

comment on table person_key is 'The key of each person, wrapped by the configured key. A destroyed one stays as a row without a key, so that it is never made again.';
