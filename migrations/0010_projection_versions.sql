-- Which version of each projection the live tables, and those kept from before, were built by.
-- depends: 0009_archive

create table projection_tables (
    projection text        not null,
    schema     text        not null,
    version    integer     not null,
    shape      text        not null,
    built_at   timestamptz not null default now(),
    primary key (projection, schema)
);
