-- An erasure finds what is a person's by an index: it holds a transaction id, and as long as it takes nothing new gets its
-- position in the log.
-- depends: 0012_predecessors_first

create index schedule_of_owner on schedule (owner_id);
create index evaluation_request_of_owner on evaluation_request (owner_id);
create index reservation_of_stream on reservation (stream_id);
create index reservation_of_person on reservation (split_part(scope, ':', 2));

-- The sessions that were ended go too.
drop index session_of_user;
create index session_of_user on session (user_id);

-- So does what was deleted, also when the projection changes it.
create index monitors_of_person on read_model.monitors (owner_id);
create index actions_of_person on read_model.actions (owner_id);
create index triggers_of_person on read_model.triggers (owner_id);
