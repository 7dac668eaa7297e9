-- When a job may be handed out, how often that was in vain, and what became of one that never could be done.
-- depends: 0013_erasure_indexes

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
