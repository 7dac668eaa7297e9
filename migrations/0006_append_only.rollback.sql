drop trigger event_log_is_append_only on event_log;
drop trigger event_is_append_only on event;
drop trigger event_only_lets_go on event;
drop function refuse_change_of_log();
drop function refuse_change_of_event();
alter table log_head drop column cluster;
comment on table event is 'Every event ever. Appended through append_events only, never updated, never deleted.';
alter table event drop constraint event_archived_as_a_whole;
alter table event alter column data set not null, alter column metadata set not null;
-- The role itself stays: it belongs to the cluster, and other databases may use it.
alter default privileges revoke select, insert, update, delete on tables from vigil_app;
alter default privileges revoke usage on schemas from vigil_app;
revoke all on all tables in schema public, read_model from vigil_app;
revoke usage on schema public, read_model from vigil_app;
