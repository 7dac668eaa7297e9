-- What a monitor says whose sources cannot be read.
-- depends: 0016_evidence

alter table read_model.monitors add column failing jsonb;
comment on column read_model.monitors.failing is 'While the status is failing: since when, after how many failures, code and message of the last of them.';
