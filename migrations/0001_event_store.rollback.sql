drop table command_receipt, reservation, log_head, event_log;
drop function append_events(uuid[], integer[], uuid[], text[], smallint[], jsonb[], jsonb[], uuid[]);
drop table event;
