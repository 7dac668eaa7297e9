-- Tables from before a rebuild may have been made the live ones again, without these.
drop index if exists read_model.evaluations_with_savings;
alter table read_model.evaluations drop column if exists saved_micros;
drop table if exists read_model.model_calls;
drop function settle_model_calls(jsonb, uuid);
drop function admit_model_calls(jsonb, bigint, bigint, uuid);
drop table model_spending, model_call_open;
