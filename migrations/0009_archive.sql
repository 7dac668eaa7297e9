-- Which part of the log has its closed evaluations in archive files.
-- depends: 0008_snapshots

create table archive_segment (
    first_position bigint      not null primary key check (first_position > 0),
    last_position  bigint      not null unique check (last_position >= first_position),
    file           text        not null unique,
    sha256         text        not null check (sha256 ~ '^[0-9a-f]{64}$'),
    events         integer     not null check (events >= 0),
    archived_at    timestamptz not null default now()
);

-- Only who may let go of events says where they went.
revoke insert, update, delete on archive_segment from vigil_app;

comment on table archive_segment is 'Parts of the log that stand whole, signed and compressed in a file. Of the evaluations that were closed in them the store keeps everything but data and metadata.';
comment on column archive_segment.file is 'Its name in the archive folder.';
comment on column archive_segment.sha256 is 'Of the file as it was when the store let go of its part.';
comment on column archive_segment.events is 'How many events the store let go of then; of evaluations that began earlier, some stand in earlier files.';
