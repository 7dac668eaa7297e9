-- What models are asked in no hurry: inquiries that wait, the batches they go in, and the looks that wait for them.
-- depends: 0021_reasons_of_facts

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
