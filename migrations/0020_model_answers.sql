-- What models answered, so that nobody pays twice for the same.
-- depends: 0019_model_calls

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
