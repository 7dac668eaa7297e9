-- The event store and the log. PostgreSQL is the only truth; everything else can be made again from these tables.
-- depends:

create table event (
    stream_id    uuid        not null,
    version      integer     not null check (version > 0),
    owner_id     uuid        not null,
    type         text        not null,
    type_version smallint    not null check (type_version > 0),
    data         jsonb       not null,
    metadata     jsonb       not null,
    event_id     uuid        not null,
    recorded_at  timestamptz not null default clock_timestamp(),
    tx           xid8        not null default pg_current_xact_id(),
    seq          bigint      not null generated always as identity,
    primary key (stream_id, version)
);

comment on table event is 'Every event ever. Appended through append_events only, never updated, never deleted.';
comment on column event.tx is 'The transaction that wrote it: commit order is told by (tx, seq) among finished transactions.';
comment on column event.seq is 'Allocation order. Never a checkpoint: a later number may commit first.';

create index event_by_commit on event (tx, seq);

-- The dense, gapless order of all events, given after commit by the sequencer.
create table event_log (
    position           bigint   not null primary key check (position > 0),
    partition          smallint not null check (partition between 0 and 15),
    partition_position bigint   not null check (partition_position > 0),
    stream_id          uuid     not null,
    version            integer  not null,
    hash               bytea    not null check (length(hash) = 32),
    unique (partition, partition_position),
    unique (stream_id, version)
);

comment on column event_log.hash is 'sha256(previous hash || canonical event), starting from 32 zero bytes.';

-- The last sequenced event. Its compare-and-set fences a sequencer that believes it still leads.
create table log_head (
    only_row            boolean  not null primary key default true check (only_row),
    tx                  xid8     not null,
    seq                 bigint   not null,
    position            bigint   not null,
    hash                bytea    not null,
    partition_positions bigint[] not null check (array_length(partition_positions, 1) = 16)
);

insert into log_head (tx, seq, position, hash, partition_positions)
values ('0', 0, 0, decode(repeat('00', 32), 'hex'), array_fill(0::bigint, array[16]));

-- Appends events of one or several streams. Must be the first write of its transaction: with an older transaction id,
-- an event of a stream could be sequenced before its predecessor. A taken version is a unique violation.
create function append_events(
    stream_ids uuid[], versions integer[], owner_ids uuid[], types text[], type_versions smallint[],
    datas jsonb[], metadatas jsonb[], event_ids uuid[]
) returns void
language plpgsql as $$
begin
    if pg_current_xact_id_if_assigned() is not null then
        raise exception 'append_events must be the first write of its transaction' using errcode = 'VG001';
    end if;
    insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)
    select * from unnest(stream_ids, versions, owner_ids, types, type_versions, datas, metadatas, event_ids);
    -- One look-up by key for each: a join's plan, made while the table is empty, would read all of it for ever.
    for i in 1 .. cardinality(stream_ids) loop
        if versions[i] > 1 and not exists (
            select from event where stream_id = stream_ids[i] and version = versions[i] - 1
        ) then
            raise exception 'the expected version lies ahead of its stream' using errcode = 'VG002';
        end if;
    end loop;
end
$$;

-- What a command holds for itself alone, written in the transaction of its events: addresses, names, quota places.
create table reservation (
    scope     text not null,
    value     text not null,
    stream_id uuid not null,
    primary key (scope, value)
);

-- The answer to a command that carried an idempotency key, written in the transaction of its events.
create table command_receipt (
    owner_id    uuid        not null,
    command_id  text        not null,
    fingerprint bytea       not null,
    status      smallint    not null,
    answer      jsonb       not null,
    recorded_at timestamptz not null default now(),
    primary key (owner_id, command_id)
);
