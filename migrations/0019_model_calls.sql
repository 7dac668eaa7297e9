-- What calls of models cost, and what may be spent on them.
-- depends: 0018_item_identity

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
