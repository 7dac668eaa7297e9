-- Which version of each projection the live tables, those kept from before, and those being built are made by.
-- depends: 0009_archive

create table projection_tables (
    projection  text        not null,
    schema      text        not null,
    version     integer     not null,
    fingerprint text        not null check (fingerprint ~ '^[0-9a-f]{64}$'),
    places      bigint[]    check (array_length(places, 1) = 16),
    built_at    timestamptz not null default now(),
    primary key (projection, schema)
);

comment on column projection_tables.fingerprint is 'sha256 over the SQL that made them.';
comment on column projection_tables.places is 'How far they had come in each partition when others took their place. The live ones have a checkpoint instead.';

-- An earlier program began rebuilds under these names; what they left is begun anew.
delete from checkpoint where consumer like '%.rebuild.v%';
