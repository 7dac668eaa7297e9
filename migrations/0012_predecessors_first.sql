-- An append looks for its predecessors before it takes a transaction id: a predecessor that commits meanwhile, with a later
-- id, would be sequenced after its successor.
-- depends: 0011_lost_events

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
