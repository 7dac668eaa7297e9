drop function record_evaluations(jsonb);
drop table heartbeat, dead_job;

delete from evaluation_request where signal_id is not null;
drop index evaluation_request_ready, evaluation_request_of_monitor, evaluation_request_one_waiting;
alter table evaluation_request drop column ready_at, drop column attempts, drop column signal_id, drop column place;
create index evaluation_request_waiting on evaluation_request (requested_at);
create unique index evaluation_request_one_waiting on evaluation_request (monitor_id) where enqueued_at is null;
create index evaluation_request_of_monitor on evaluation_request (monitor_id);

drop index schedule_ready;
alter table schedule drop column ready_at, drop column attempts, drop column previous;
create index schedule_due on schedule (due_at) where active;
