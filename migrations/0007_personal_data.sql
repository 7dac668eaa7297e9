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
