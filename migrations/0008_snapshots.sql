-- States of long streams, so that loading one need not fold it from its first event.
-- depends: 0007_personal_data

create table snapshot (
    stream_id     uuid        not null primary key,
    version       integer     not null check (version > 0),
    kind          text        not null,
    shape         text        not null,
    state         jsonb       not null,
    taken_at      timestamptz not null default now()
);

comment on table snapshot is 'May be emptied at any time: the events say everything. One with another shape than the program''s is not read.';
