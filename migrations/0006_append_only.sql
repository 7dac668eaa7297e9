-- What was recorded is never changed: not by the application's role, and not by mistake of anybody else.
-- depends: 0005_signed_heads

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
