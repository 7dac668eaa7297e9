-- What the items of a feed are known by, beside what they are called; and the order of what was seen, which is the order of
-- the log, whatever the clocks said.
-- depends: 0017_failing

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
