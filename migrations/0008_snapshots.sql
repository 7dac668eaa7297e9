-- States of long streams, so that loading one need not fold it from its first event.
-- depends: 0007_personal_data

create table snapshot (
    stream_id uuid        not null primary key,
    owner_id  uuid        not null,
    version   integer     not null check (version > 0),
    event_id  uuid        not null,
    shape     text        not null,
    state     bytea       not null,
    taken_at  timestamptz not null default now()
);

create index snapshot_of_owner on snapshot (owner_id);

comment on table snapshot is 'May be emptied at any time: the events say everything. One of another shape than the program''s is not read.';
comment on column snapshot.event_id is 'The last event that was folded. Not read where the stream has another one at that version, as it may after a restore.';
comment on column snapshot.state is 'Sealed with the key of its owner.';
