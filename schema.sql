-- The whole database of Vigil, as the migrations leave it; tests/store/test_migrations.py proves the two equal.
-- Read it to understand; `vigil migrate up` is what makes it.

-- The event store and the log. PostgreSQL is the only truth; everything else can be made again from these tables.

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

-- What the workers need between two steps. None of it is a read table, none of it is rebuilt.

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

-- What can be read. Everything in the schema read_model is a projection of the log and can be built again from nothing;
-- a rebuild fills a second schema beside it and changes their names in one transaction.

create schema read_model;

create table read_model.users (
    id         uuid        not null primary key,
    email      text        not null,
    name       text        not null,
    timezone   text        not null,
    verified   boolean     not null,
    roles      text[]      not null,
    version    integer     not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create unique index users_email on read_model.users (lower(email));

create table read_model.monitors (
    id                 uuid        not null primary key,
    owner_id           uuid        not null references read_model.users (id) on delete cascade,
    name               text        not null,
    prompt             text        not null,
    kind               text        not null check (kind in ('current_state', 'historical_change')),
    status             text        not null check (status in ('active', 'paused', 'failing', 'archived')),
    state              text        not null check (state in ('unknown', 'inactive', 'active')),
    plan               jsonb       not null,
    plan_revision      integer     not null,
    last_evaluation_id uuid,
    last_evaluated_at  timestamptz,
    version            integer     not null,
    created_at         timestamptz not null,
    updated_at         timestamptz not null,
    deleted_at         timestamptz
);

create index monitors_of_owner on read_model.monitors (owner_id, created_at desc, id) where deleted_at is null;
create index monitors_archived on read_model.monitors (owner_id, created_at desc, id) where deleted_at is not null;
create index monitors_plan on read_model.monitors using gin (plan jsonb_path_ops);

create table read_model.evaluations (
    id            uuid        not null primary key,
    monitor_id    uuid        not null references read_model.monitors (id) on delete cascade,
    owner_id      uuid        not null references read_model.users (id) on delete cascade,
    status        text        not null check (status in ('queued', 'running', 'completed', 'failed')),
    verdict       text        check (verdict in ('met', 'not_met', 'inconclusive')),
    state_before  text,
    state_after   text,
    condition     text,
    inputs        jsonb,
    reason        text,
    streak        integer,
    evidence      jsonb       not null default '[]',
    provider      text,
    model         text,
    cost_micros   bigint      not null default 0,
    duration_ms   integer,
    error_code    text,
    error_message text,
    plan_revision integer,
    due_at        timestamptz not null,
    started_at    timestamptz,
    completed_at  timestamptz
);

create index evaluations_of_monitor on read_model.evaluations (monitor_id, due_at desc, id desc);

create table read_model.facts (
    evaluation_id uuid             not null references read_model.evaluations (id) on delete cascade,
    name          text             not null,
    monitor_id    uuid             not null references read_model.monitors (id) on delete cascade,
    type          text             not null,
    value         jsonb            not null,
    number        double precision,
    unit          text,
    confidence    double precision not null,
    quote         text             not null,
    source_url    text             not null,
    evidence_hash text             not null,
    observed_at   timestamptz      not null,
    primary key (evaluation_id, name)
);

create index facts_series on read_model.facts (monitor_id, name, observed_at desc);

create table read_model.changes (
    id            uuid        not null primary key,
    monitor_id    uuid        not null references read_model.monitors (id) on delete cascade,
    from_state    text        not null,
    to_state      text        not null,
    evaluation_id uuid        not null references read_model.evaluations (id) on delete cascade,
    changed_at    timestamptz not null
);

create index changes_of_evaluation on read_model.changes (evaluation_id);
create index changes_of_monitor on read_model.changes (monitor_id, changed_at desc, id desc);

create table read_model.actions (
    id         uuid        not null primary key,
    owner_id   uuid        not null references read_model.users (id) on delete cascade,
    name       text        not null,
    config     jsonb       not null,
    version    integer     not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz
);

create index actions_of_owner on read_model.actions (owner_id, created_at desc, id) where deleted_at is null;

create table read_model.triggers (
    id               uuid        not null primary key,
    owner_id         uuid        not null references read_model.users (id) on delete cascade,
    monitor_id       uuid        not null references read_model.monitors (id) on delete cascade,
    action_id        uuid        not null references read_model.actions (id) on delete cascade,
    name             text        not null,
    condition        text        not null,
    frequency        text        not null,
    cooldown_seconds integer     not null,
    enabled          boolean     not null,
    created_place    bigint      not null,
    version          integer     not null,
    created_at       timestamptz not null,
    updated_at       timestamptz not null,
    deleted_at       timestamptz
);

comment on column read_model.triggers.created_place is 'Its place in its partition of the log: earlier changes do not concern it.';

create index triggers_of_owner on read_model.triggers (owner_id, created_at desc, id) where deleted_at is null;
create index triggers_of_monitor on read_model.triggers (monitor_id) where deleted_at is null;
create index triggers_of_action on read_model.triggers (action_id) where deleted_at is null;

create table read_model.firings (
    id            uuid        not null primary key,
    trigger_id    uuid        not null references read_model.triggers (id) on delete cascade,
    evaluation_id uuid        not null references read_model.evaluations (id) on delete cascade,
    outcome       text        not null check (outcome in ('fired', 'suppressed')),
    reason        text,
    fired_at      timestamptz not null
);

create index firings_of_trigger on read_model.firings (trigger_id, fired_at desc, id desc);

create table read_model.notifications (
    id              uuid        not null primary key,
    owner_id        uuid        not null references read_model.users (id) on delete cascade,
    kind            text        not null,
    channel         text        not null default 'email',
    recipient       text        not null,
    subject         text        not null,
    monitor_id      uuid        references read_model.monitors (id) on delete cascade,
    trigger_id      uuid        references read_model.triggers (id) on delete cascade,
    action_id       uuid        references read_model.actions (id) on delete cascade,
    evaluation_id   uuid        references read_model.evaluations (id) on delete cascade,
    status          text        not null,
    attempts        jsonb       not null default '[]',
    next_attempt_at timestamptz,
    version         integer     not null,
    created_at      timestamptz not null,
    sent_at         timestamptz
);

create index notifications_of_owner on read_model.notifications (owner_id, created_at desc, id);
create index notifications_due on read_model.notifications (next_attempt_at) where next_attempt_at is not null;

-- What readers and aggregates of the `eventsourcing` library keep beside the log. Vigil's own workers use neither table.

-- How far each of the library's projections has come in the log, moved in the transaction of what it wrote. Not in
-- `checkpoint`: that counts places in partitions, has epochs, and holds back what the log in Redis may forget.
create table eventsourcing_tracking (
    consumer         text   not null,
    application_name text   not null,
    notification_id  bigint not null,
    primary key (consumer, application_name)
);

comment on column eventsourcing_tracking.notification_id is 'A position in the log, or in that of another application; it only grows.';

-- Snapshots of the library's aggregates. They may be deleted at any time: the events say everything.
create table eventsourcing_snapshot (
    originator_id      uuid    not null,
    originator_version integer not null,
    topic              text    not null,
    state              bytea   not null,
    primary key (originator_id, originator_version)
);

-- Signatures of the log's head: what whoever can write to this database, but has no key, cannot make again.

create table signed_head (
    position  bigint      not null primary key check (position > 0),
    hash      bytea       not null check (length(hash) = 32),
    signed_at timestamptz not null,
    key_id    text        not null check (key_id ~ '^[0-9a-f]{64}$'),
    signature bytea       not null check (length(signature) = 64)
);

comment on table signed_head is 'The hash the log had at a position, signed with Ed25519 (docs/evidence.md). Never updated, never deleted.';
comment on column signed_head.key_id is 'sha256 of the public key''s 32 bytes.';

create function refuse_change_of_signed_head() returns trigger
language plpgsql as $$
begin
    raise exception 'what was signed is never changed' using errcode = 'restrict_violation';
end
$$;

create trigger signed_head_is_append_only before update or delete or truncate on signed_head
for each statement execute function refuse_change_of_signed_head();

-- What was recorded is never changed: not by the application's role, and not by mistake of anybody else.

-- The role of the API and the workers. It belongs to the whole cluster, so another database of it may have made it, also
-- at this very moment. `alter role vigil_app login password '...'` lets it in, or a role of one's own `in role vigil_app`.
do $$
begin
    if not exists (select from pg_roles where rolname = 'vigil_app') then
        begin
            create role vigil_app nologin;
            grant pg_read_all_stats to vigil_app;
        exception
            when duplicate_object or unique_violation then
                null;
            when insufficient_privilege then
                if not exists (select from pg_roles where rolname = 'vigil_app') then
                    create role vigil_app nologin;
                end if;
        end;
    end if;
exception
    when insufficient_privilege then
        raise exception 'this role may not make the role vigil_app'
            using errcode = 'insufficient_privilege',
                  hint = 'as an administrator: create role vigil_app nologin; then migrate again';
end
$$;

-- In clusters that come from before PostgreSQL 15 everybody may make functions there, which the owner would then call.
revoke create on schema public from public;

grant usage on schema public, read_model to vigil_app;
grant select on all tables in schema public to vigil_app;
grant select, insert, update, delete on all tables in schema read_model to vigil_app;
grant select, insert, update, delete on
    checkpoint, parked, lease, schedule, evaluation_request, evidence, source_memory, delivery_claim, credential, session,
    reservation, command_receipt, eventsourcing_tracking, eventsourcing_snapshot
to vigil_app;
-- Column by column: the database alone says when an event was recorded, and by which transaction.
grant insert (stream_id, version, owner_id, type, type_version, data, metadata, event_id) on event to vigil_app;
grant insert on event_log, signed_head to vigil_app;
grant update on log_head to vigil_app;

-- What this role makes later: tables of later migrations, and the shadow tables of a rebuild.
alter default privileges grant usage on schemas to vigil_app;
alter default privileges grant select, insert, update, delete on tables to vigil_app;

-- An archived event keeps its place, its hash and its shape in the log; its content stands in the archive.
alter table event alter column data drop not null, alter column metadata drop not null;
alter table event add constraint event_archived_as_a_whole check ((data is null) = (metadata is null));

comment on table event is 'Every event ever. Appended only; the one change there is lets go of data and metadata together, which then stand in an archive file.';

-- Transaction ids of one cluster mean nothing in another, into which a store may be restored.
alter table log_head add column cluster bigint;
update log_head set cluster = (select system_identifier from pg_control_system());
alter table log_head alter column cluster set not null;

comment on column log_head.cluster is 'The system identifier of the cluster in which every event up to the head is known to have its position.';

create function refuse_change_of_event() returns trigger
language plpgsql as $$
begin
    if tg_op = 'UPDATE' and new.data is null and new.metadata is null then
        old.data := null;
        old.metadata := null;
        if new is not distinct from old then
            return new;
        end if;
    end if;
    raise exception 'what was recorded is never changed' using errcode = 'restrict_violation';
end
$$;

create function refuse_change_of_log() returns trigger
language plpgsql as $$
begin
    raise exception 'what was recorded is never changed' using errcode = 'restrict_violation';
end
$$;

create trigger event_only_lets_go before update on event
for each row execute function refuse_change_of_event();
create trigger event_is_append_only before delete or truncate on event
for each statement execute function refuse_change_of_log();
create trigger event_log_is_append_only before update or delete or truncate on event_log
for each statement execute function refuse_change_of_log();

-- One key for each person; destroying it makes what it sealed unreadable for ever.

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

-- A key without a row would be made again.
revoke delete, truncate on person_key from vigil_app;

-- Nor is a destroyed key put back, from a backup say, or one person's row made another's.
create function refuse_change_of_person_key() returns trigger
language plpgsql as $$
begin
    if new.owner_id <> old.owner_id or (old.destroyed_at is not null and new is distinct from old) then
        raise exception 'a destroyed key stays destroyed' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

create trigger person_key_stays_destroyed before update on person_key
for each row execute function refuse_change_of_person_key();

create function person_lock(owner_id uuid) returns bigint
language sql immutable as $$
    select hashtextextended('person:' || owner_id, 0)
$$;

-- Before something of these people is written that stays: an erasure waits for this transaction, and who comes after one
-- is refused. Neither takes a transaction id, so that an append can still be the first write.
create function hold_people(owner_ids uuid[]) returns void
language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(person_lock(id)) from unnest(owner_ids) as id;
    -- A statement of its own, which sees what was committed while the locks were waited for.
    if exists (select from person_key where owner_id = any (owner_ids) and destroyed_at is not null) then
        raise exception 'this person was erased' using errcode = 'VG003';
    end if;
end
$$;

-- States of long streams, so that loading one need not fold it from its first event.

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

-- Which part of the log has its closed evaluations in archive files.

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

-- Which version of each projection the live tables, those kept from before, and those being built are made by.

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

-- When a standby is promoted that lacked the last commits, events that had positions are gone. The relay notices, and stops.

alter table log_head add column lost_at timestamptz;

comment on column log_head.lost_at is 'Set when a relay found that the log is another than it was: events that had positions are gone. Nothing gets a position until `vigil store repair`.';

-- An append looks for its predecessors before it takes a transaction id: a predecessor that commits meanwhile, with a later
-- id, would be sequenced after its successor.

create or replace function append_events(
    stream_ids uuid[], versions integer[], owner_ids uuid[], types text[], type_versions smallint[],
    datas jsonb[], metadatas jsonb[], event_ids uuid[]
) returns void
language plpgsql as $$
begin
    if pg_current_xact_id_if_assigned() is not null then
        raise exception 'append_events must be the first write of its transaction' using errcode = 'VG001';
    end if;
    -- One look-up by key for each: a join's plan, made while the table is empty, would read all of it for ever.
    for i in 1 .. cardinality(stream_ids) loop
        if versions[i] > 1 and not exists (
            select from event where stream_id = stream_ids[i] and version = versions[i] - 1
        ) and not exists (
            select from unnest(stream_ids, versions) as own (stream_id, version)
            where own.stream_id = stream_ids[i] and own.version = versions[i] - 1
        ) then
            raise exception 'the expected version lies ahead of its stream' using errcode = 'VG002';
        end if;
    end loop;
    insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)
    select * from unnest(stream_ids, versions, owner_ids, types, type_versions, datas, metadatas, event_ids);
end
$$;

-- An erasure finds what is a person's by an index: it holds a transaction id, and as long as it takes nothing new gets its
-- position in the log.

create index schedule_of_owner on schedule (owner_id);
create index evaluation_request_of_owner on evaluation_request (owner_id);
create index reservation_of_stream on reservation (stream_id);
create index reservation_of_person on reservation (split_part(scope, ':', 2));

-- The sessions that were ended go too.
drop index session_of_user;
create index session_of_user on session (user_id);

-- So does what was deleted, also when the projection changes it.
create index monitors_of_person on read_model.monitors (owner_id);
create index actions_of_person on read_model.actions (owner_id);
create index triggers_of_person on read_model.triggers (owner_id);

-- When a job may be handed out, how often that was in vain, and what became of one that never could be done.

alter table schedule
    add column ready_at timestamptz not null default now(),
    add column attempts smallint    not null default 0;
update schedule set ready_at = due_at, enqueued_at = null;
-- What the next evaluation compares with, kept where it is written: no read table has to catch up for a streak.
alter table schedule add column previous jsonb;
update schedule s set previous = jsonb_build_object('evaluation_id', s.last_evaluation_id)
where last_evaluation_id is not null;
update schedule s
set previous = s.previous || jsonb_strip_nulls(
    jsonb_build_object('verdict', e.verdict, 'streak', e.streak, 'plan_revision', e.plan_revision)
)
from (
    -- By the index, so that a long history is not sorted while nobody may use the table. Those done last are due last, but
    -- for one or two.
    select monitor_id, last.*
    from schedule cross join lateral (
        select verdict, streak, plan_revision
        from (
            select * from read_model.evaluations
            where evaluations.monitor_id = schedule.monitor_id and verdict in ('met', 'not_met') and streak is not null
            order by due_at desc, id desc limit 10
        ) latest
        order by completed_at desc, id desc limit 1
    ) last
    where last_evaluation_id is not null
) e
where e.monitor_id = s.monitor_id and s.previous is not null;
comment on column schedule.ready_at is 'Not to be handed out before: when it is due, spread a little; while somebody works on it, when it counts as lost.';
drop index schedule_due;
create index schedule_ready on schedule (ready_at) where active;

alter table evaluation_request
    add column ready_at  timestamptz not null default now(),
    add column attempts  smallint    not null default 0,
    add column signal_id uuid,
    add column place     bigint      generated always as identity;
comment on column evaluation_request.place is 'In what order those of a monitor are done. By the clock, which may go back, signals could change places.';
comment on column evaluation_request.signal_id is 'The signal that asked for it. Each signal is evaluated, in the order they came.';
drop index evaluation_request_waiting, evaluation_request_one_waiting, evaluation_request_of_monitor;
create index evaluation_request_ready on evaluation_request (ready_at);
create index evaluation_request_of_monitor on evaluation_request (monitor_id, place);
-- Who asks again before the first was begun is answered with that one.
create unique index evaluation_request_one_waiting on evaluation_request (monitor_id)
    where enqueued_at is null and signal_id is null;

-- Jobs that failed by a defect as often as they may. Their slot or request is closed; an operator retries or drops them.
create table dead_job (
    evaluation_id uuid        not null primary key,
    monitor_id    uuid        not null,
    owner_id      uuid        not null,
    due_at        timestamptz not null,
    signal_id     uuid,
    attempts      smallint    not null,
    error         text        not null,
    died_at       timestamptz not null
);
create index dead_job_of_owner on dead_job (owner_id);

-- Who is at work. A lag alone looks well when nobody is.
create table heartbeat (
    worker text        not null,
    holder text        not null,
    beat_at timestamptz not null,
    primary key (worker, holder)
);

grant select, insert, update, delete on dead_job, heartbeat to vigil_app;

-- Evaluations that are recorded together, in one statement and one commit. Each is
-- {monitor_id, evaluation_id, previous_id, previous, due_at, next_due_at, next_ready_at, events: [[stream_id, version,
-- owner_id, type, type_version, data, metadata, event_id]]}.
-- One that somebody else was faster with fails all of them; then each is recorded alone.
create function record_evaluations(evaluations jsonb) returns void
language plpgsql as $$
declare
    closed integer;
begin
    -- Far longer than a rival at work needs: who waits for one that hangs holds up nobody else of the group.
    perform set_config('lock_timeout', '100ms', true);
    perform append_events(
        array_agg((j->>0)::uuid order by n, o), array_agg((j->>1)::integer order by n, o),
        array_agg((j->>2)::uuid order by n, o), array_agg(j->>3 order by n, o),
        array_agg((j->>4)::smallint order by n, o), array_agg(j->5 order by n, o), array_agg(j->6 order by n, o),
        array_agg((j->>7)::uuid order by n, o)
    )
    from jsonb_array_elements(evaluations) with ordinality as e (e, n),
         jsonb_array_elements(e->'events') with ordinality as events (j, o);

    -- In one order for everybody, so that two who record the same monitors wait for each other in a row.
    perform from schedule
    where monitor_id in (select (e->>'monitor_id')::uuid from jsonb_array_elements(evaluations) as e)
    order by monitor_id for update;
    update schedule s
    set last_evaluation_id = e.evaluation_id,
        previous = e.previous,
        due_at = case when s.due_at = e.due_at then e.next_due_at else s.due_at end,
        ready_at = case when s.due_at = e.due_at then e.next_ready_at else s.ready_at end,
        enqueued_at = case when s.due_at = e.due_at then null else s.enqueued_at end,
        attempts = case when s.due_at = e.due_at then 0 else s.attempts end
    from jsonb_to_recordset(evaluations) as e (
        monitor_id uuid, evaluation_id uuid, previous_id uuid, previous jsonb, due_at timestamptz,
        next_due_at timestamptz, next_ready_at timestamptz
    )
    where s.monitor_id = e.monitor_id and s.last_evaluation_id is not distinct from e.previous_id;
    get diagnostics closed = row_count;
    if closed <> jsonb_array_length(evaluations) then
        raise exception 'somebody evaluated the monitor meanwhile' using errcode = 'VG004';
    end if;

    delete from evaluation_request
    where evaluation_id in (select (e->>'evaluation_id')::uuid from jsonb_array_elements(evaluations) as e);
end
$$;

-- What others send: where they may send it, with which secrets, who watches, and what can be read of it.

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

-- What a content came with, how long it is kept, and how long a source says that it stays.

alter table evidence
    add column headers      jsonb       not null default '{}',
    add column last_read_at timestamptz not null default now(),
    add column removed_at   timestamptz,
    alter column body drop not null,
    add constraint evidence_kept_or_let_go check ((body is null) = (removed_at is not null));
comment on table evidence is 'The content of every evidence ever used, once for each hash, compressed with zstd. One that was let go by policy keeps its row without the body.';
comment on column evidence.headers is 'Those worth keeping of the answer that brought it first.';
comment on column evidence.last_read_at is 'When a source answered with it, to about a day; for what was there before this column, when the column came.';
create index evidence_by_age on evidence (last_read_at) where body is not null;

alter table source_memory add column fresh_until timestamptz;
comment on column source_memory.fresh_until is 'Until when the source said that its answer stays as it is (RFC 9111).';
alter table source_memory add column reading jsonb;
comment on column source_memory.reading is 'What was read from the content when it was read last, so that while it stays nobody reads it again.';
create index source_memory_of_evidence on source_memory (evidence_hash);

-- Keeps a content that was read. It usually touches no row that is there and locks none: many keep the same content at once.
create function keep_content(of_hash text, of_body bytea, of_bytes integer, of_headers jsonb, at timestamptz) returns void
language plpgsql as $$
begin
    insert into evidence (hash, body, body_bytes, headers, read_at, last_read_at)
    values (of_hash, of_body, of_bytes, of_headers, at, at)
    on conflict (hash) do nothing;
    if found then
        return;
    end if;
    update evidence set body = of_body, removed_at = null, last_read_at = greatest(last_read_at, at)
    where hash = of_hash and (body is null or last_read_at < at - interval '1 day');
end
$$;

-- Keeps it as the last answer of a source. From then on nobody lets go of it, so that comes before it is kept anew; what the
-- source had until now was its answer until now.
create function keep_evidence(
    of_monitor uuid, of_url text, of_etag text, of_last_modified text, of_type text, of_charset text, until timestamptz,
    of_reading jsonb, of_hash text, of_body bytea, of_bytes integer, of_headers jsonb, at timestamptz
) returns void
language plpgsql as $$
begin
    update evidence set last_read_at = at
    where hash = (select evidence_hash from source_memory where monitor_id = of_monitor and url = of_url)
      and hash <> of_hash and last_read_at < at - interval '1 day';
    insert into evidence (hash, body, body_bytes, headers, read_at, last_read_at)
    values (of_hash, of_body, of_bytes, of_headers, at, at)
    on conflict (hash) do nothing;
    insert into source_memory
        (monitor_id, url, etag, last_modified, content_type, charset, evidence_hash, read_at, fresh_until, reading)
    values (of_monitor, of_url, of_etag, of_last_modified, of_type, of_charset, of_hash, at, until, of_reading)
    on conflict (monitor_id, url) do update
    set etag = excluded.etag, last_modified = excluded.last_modified, content_type = excluded.content_type,
        charset = excluded.charset, evidence_hash = excluded.evidence_hash, read_at = excluded.read_at,
        fresh_until = excluded.fresh_until, reading = excluded.reading;
    perform keep_content(of_hash, of_body, of_bytes, of_headers, at);
end
$$;

-- What a monitor says whose sources cannot be read.

alter table read_model.monitors add column failing jsonb;
comment on column read_model.monitors.failing is 'While the status is failing: since when, after how many failures, code and message of the last of them.';

-- What the items of a feed are known by, beside what they are called; and the order of what was seen, which is the order of
-- the log, whatever the clocks said.

alter table read_model.facts add column keys jsonb;
comment on column read_model.facts.keys is 'Of a list: what each item is known by, in the order of the items; null where that is the item itself.';

-- What was made before has place 0, and its times for an order, until the tables are built again.
alter table read_model.evaluations add column place bigint not null default 0;
comment on column read_model.evaluations.place is 'The place of the outcome in its partition of the log.';

alter table read_model.facts add column place bigint not null default 0, add column plan_revision integer;
comment on column read_model.facts.place is 'In its partition of the log.';
comment on column read_model.facts.plan_revision is 'Of the evaluation; null until its outcome is known.';
update read_model.facts f set plan_revision = e.plan_revision from read_model.evaluations e where e.id = f.evaluation_id;

create index facts_order on read_model.facts (monitor_id, name, plan_revision desc, place desc, observed_at desc);

-- What calls of models cost, and what may be spent on them.

create table model_call_open (
    id               uuid        not null primary key,
    owner_id         uuid        not null,
    day              date        not null,
    monitor_id       uuid,
    evaluation_id    uuid,
    task             text        not null,
    provider         text        not null,
    model            text        not null,
    set_aside_micros bigint      not null check (set_aside_micros >= 0),
    started_at       timestamptz not null
);
comment on table model_call_open is 'Calls of models that were admitted and are not recorded. Whoever makes one is at it for seconds; an older one is nobody''s any more.';
comment on column model_call_open.day is 'Whose budget pays it, in UTC.';
comment on column model_call_open.set_aside_micros is 'The most it can cost, in millionths of a US dollar.';
create index model_call_open_of_owner on model_call_open (owner_id, day);
create index model_call_open_of_day on model_call_open (day) include (set_aside_micros);
create index model_call_open_by_age on model_call_open (started_at, id);

create table model_spending (
    scope        uuid   not null,
    day          date   not null,
    spent_micros bigint not null check (spent_micros >= 0),
    primary key (scope, day)
);
comment on table model_spending is 'The sums of what the calls of a day cost, for each person and, under the id that belongs to no person, for everybody. The events `model.called` say the same.';

grant select, insert, update, delete on model_call_open, model_spending to vigil_app;

-- Sets aside what each of these calls can cost at most, in their order, and tells of those that do not fit a limit (null: there
-- is none) which limit that is, what is spent of it and what is set aside. Each is {id, owner_id, day, monitor_id, evaluation_id,
-- task, provider, model, set_aside_micros, started_at}. One at a time: two that looked at the same sums would both fit.
create function admit_model_calls(calls jsonb, person_limit bigint, installation_limit bigint, installation uuid)
returns table (call_id uuid, refused_by uuid, spent bigint, under_way bigint)
language plpgsql as $$
declare
    call          model_call_open;
    summed_day    date;
    all_spent     bigint;
    all_under_way bigint;
begin
    perform pg_advisory_xact_lock(hashtextextended('model-budget', 0));
    for call in
        select c.*
        from jsonb_array_elements(calls) with ordinality as e (j, n), jsonb_populate_record(null::model_call_open, j) as c
        order by n
    loop
        if installation_limit is not null and call.day is distinct from summed_day then
            summed_day := call.day;
            all_spent := coalesce((select spent_micros from model_spending where scope = installation and day = call.day), 0);
            all_under_way := coalesce((select sum(set_aside_micros) from model_call_open where day = call.day), 0);
        end if;
        call_id := call.id;
        if person_limit is not null and call.owner_id <> installation then
            spent := coalesce((select spent_micros from model_spending where scope = call.owner_id and day = call.day), 0);
            under_way := coalesce((
                select sum(set_aside_micros) from model_call_open where owner_id = call.owner_id and day = call.day
            ), 0);
            if spent + under_way + call.set_aside_micros > person_limit then
                refused_by := call.owner_id;
                return next;
                continue;
            end if;
        end if;
        if all_spent + all_under_way + call.set_aside_micros > installation_limit then
            refused_by := installation;
            spent := all_spent;
            under_way := all_under_way;
            return next;
            continue;
        end if;
        insert into model_call_open values (call.*);
        all_under_way := all_under_way + call.set_aside_micros;
    end loop;
end
$$;

-- Takes calls for recorded, each {id, cost} and given once, and adds what they cost to the sums, once however often it is done.
-- An erased person has no sum. Rows are locked in one order for everybody.
create function settle_model_calls(costs jsonb, installation uuid) returns void
language sql as $$
    with recorded as materialized (
        select o.id, o.owner_id, o.day, c.cost
        from jsonb_to_recordset(costs) as c (id uuid, cost bigint) join model_call_open o on o.id = c.id
        order by o.id for update of o
    ), gone as (
        delete from model_call_open where id in (select id from recorded)
    )
    insert into model_spending (scope, day, spent_micros)
    select scope, day, sum(cost)
    from recorded, lateral (select owner_id as scope union select installation) as scopes
    where not exists (select from person_key k where k.owner_id = scope and k.destroyed_at is not null)
    group by scope, day order by scope, day
    on conflict (scope, day) do update set spent_micros = model_spending.spent_micros + excluded.spent_micros
$$;

create table read_model.model_calls (
    id                 uuid        not null primary key,
    owner_id           uuid        references read_model.users (id) on delete cascade,
    monitor_id         uuid,
    evaluation_id      uuid,
    task               text        not null,
    provider           text        not null,
    model              text        not null,
    outcome            text        not null,
    input_tokens       bigint      not null,
    output_tokens      bigint      not null,
    cache_read_tokens  bigint      not null,
    cache_write_tokens bigint      not null,
    searches           bigint      not null,
    cost_micros        bigint      not null,
    prices             text        not null,
    is_estimated       boolean     not null,
    message            text,
    started_at         timestamptz not null,
    duration_ms        bigint      not null
);
comment on column read_model.model_calls.owner_id is 'Null for what the installation asks for itself.';
create index model_calls_of_owner on read_model.model_calls (owner_id, started_at desc, id desc);
create index model_calls_of_monitor on read_model.model_calls (monitor_id, started_at desc, id desc) where monitor_id is not null;
create index model_calls_of_provider on read_model.model_calls (provider, started_at desc);
create index model_calls_of_evaluation on read_model.model_calls (evaluation_id) where evaluation_id is not null;

grant select, insert, update, delete on read_model.model_calls to vigil_app;

alter table read_model.evaluations add column saved_micros bigint not null default 0;
comment on column read_model.evaluations.saved_micros is 'What models cost when they read before what they did not read again.';
create index evaluations_with_savings on read_model.evaluations (owner_id, completed_at) where saved_micros > 0;

-- What models answered, so that nobody pays twice for the same.

create table model_answer (
    key         bytea       not null primary key,
    answer      text        not null,
    provider    text        not null,
    model       text        not null,
    cost_micros bigint      not null check (cost_micros >= 0),
    made_at     timestamptz not null,
    used_at     timestamptz not null
);
comment on table model_answer is 'Answers of models that can be used, by the SHA-256 of all that was asked. They belong to no person, and are forgotten when nobody has asked the same for a while.';
comment on column model_answer.answer is 'JSON as text: jsonb would refuse some of it, and change numbers.';
comment on column model_answer.cost_micros is 'What it cost, in millionths of a US dollar.';
comment on column model_answer.used_at is 'When somebody asked the same, to about a day.';
create index model_answer_by_use on model_answer (used_at);

grant select, insert, update, delete on model_answer to vigil_app;

-- Why a model answered a question with yes or no.

alter table read_model.facts add column reason text;
comment on column read_model.facts.reason is 'Why a model says yes or no.';

-- What models are asked in no hurry: inquiries that wait, the batches they go in, and the looks that wait for them.

create table waiting_inquiry (
    key           bytea       not null primary key,
    owner_id      uuid        not null,
    monitor_id    uuid,
    evaluation_id uuid,
    prefer        text,
    inquiry       bytea,
    facts         bytea,
    asked_at      timestamptz not null,
    call_id       uuid        unique,
    outcome       text,
    message       text,
    provider      text,
    ended_at      timestamptz,
    check ((outcome is null) = (ended_at is null)),
    check ((outcome is null) = (inquiry is not null and facts is not null))
);
comment on table waiting_inquiry is 'What models are asked in no hurry, by the SHA-256 of all that is asked. What was asked goes when it is answered; how that ended stays for some days.';
comment on column waiting_inquiry.owner_id is 'Who asked first, and pays.';
comment on column waiting_inquiry.call_id is 'The call it was asked in; null until it is in a batch.';
create index waiting_inquiry_by_age on waiting_inquiry (asked_at, key) where call_id is null and outcome is null;
create index waiting_inquiry_of_owner on waiting_inquiry (owner_id);
create index waiting_inquiry_by_end on waiting_inquiry (ended_at) where ended_at is not null;

create table model_batch (
    id          uuid        not null primary key,
    provider    text        not null,
    model       text        not null,
    made_at     timestamptz not null,
    sent_at     timestamptz,
    provider_id text,
    check (provider_id is null or sent_at is not null)
);
comment on table model_batch is 'Batches that are not done.';
comment on column model_batch.sent_at is 'When somebody last began to send it: without a provider_id nobody knows whether it arrived.';

create table model_batch_call (
    call_id  uuid not null primary key,
    batch_id uuid not null references model_batch (id) on delete cascade
);
comment on table model_batch_call is 'Calls of batches that are not done. Their accounts are kept by the batcher, however long they are open.';
create index model_batch_call_of_batch on model_batch_call (batch_id);

create table waiting_look (
    monitor_id    uuid        not null primary key,
    owner_id      uuid        not null,
    evaluation_id uuid        not null,
    previous_id   uuid,
    begun_at      timestamptz not null,
    keys          bytea[]     not null,
    documents     bytea       not null,
    spent_micros  bigint      not null
);
comment on table waiting_look is 'What the sources of a monitor answered, for the evaluation that waits for answers of models to it: one of each monitor.';
comment on column waiting_look.previous_id is 'The last evaluation of the monitor then: after another one, what was seen before is out of date.';
comment on column waiting_look.documents is 'MessagePack, compressed with zstd.';
create index waiting_look_of_owner on waiting_look (owner_id);
create index waiting_look_by_age on waiting_look (begun_at);

grant select, insert, update, delete on waiting_inquiry, model_batch, model_batch_call, waiting_look to vigil_app;
