-- What can be read. Everything in the schema read_model is a projection of the log and can be built again from nothing;
-- a rebuild fills a second schema beside it and changes their names in one transaction.
-- depends: 0002_work

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
